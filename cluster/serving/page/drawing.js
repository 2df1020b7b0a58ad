// One drawing on the page: its stages, its words with their gates, and what can be done with it.
import { AttentionMap } from './maps.js';

const COARSE = 128; // pixels a side below which single pixels are shown as such

/** The address of this page that draws the picture again. */
export function addressOf({ models, caption, seed, number, truncation }) {
  const query = new URLSearchParams({ caption, seed, number });
  if (truncation != null) query.set('truncation', truncation);
  models.forEach(model => query.append('model', model));
  return `${location.origin}${location.pathname}?${query}`;
}

export function source(picture, content = picture.image) {
  return `data:${picture.media_type};base64,${content}`;
}

/** An element for `pictures`, noises of one caption by one model; `keep(drawing, kept)` is told of the button's state. */
export class Drawing {
  constructor(pictures, keep) {
    this.pictures = pictures;
    this.element = document.getElementById('drawing-template').content.firstElementChild.cloneNode(true);
    this.part = name => this.element.querySelector(name);
    this.part('.caption').textContent = pictures[0].caption;
    this.part('.link').addEventListener('click', () => this.copyLink());
    this.part('.pin').addEventListener('click', () => this.mark(!this.kept, keep));
    this.fillNoises();
    this.show(0);
  }

  show(index) {
    this.picture = this.pictures[index];
    const { model, step, number, seed, truncation, unknown_words: unknown } = this.picture;
    const parts = [model, `step ${step}`, `noise ${number}`, `seed ${seed}`];
    if (truncation != null) parts.push(`truncation ${truncation}`);
    if (unknown.length) parts.push(`not read: ${unknown.join(', ')}`);
    this.part('.meta').textContent = parts.join(' · ');
    this.fillStages();
    this.fillWords();
    this.select(-1);
    this.fillDownload();
    this.part('.address').hidden = true;
    [...this.part('.noises').children].forEach((each, i) => each.setAttribute('aria-pressed', String(i === index)));
  }

  fillStages() {
    const { stages, refinements, resolutions } = this.picture;
    this.maps = refinements.map(each => each.attention && new AttentionMap(each));
    const items = stages.map((stage, i) => {
      const item = document.createElement('li'), figure = document.createElement('figure');
      const frame = document.createElement('div'), label = document.createElement('figcaption');
      const image = picture(source(this.picture, stage), resolutions[i]);
      image.alt = `${this.picture.caption}, ${resolutions[i]} pixels`;
      frame.className = 'frame';
      frame.append(image);
      if (i && this.maps[i - 1]) frame.append(this.maps[i - 1].canvas);
      label.textContent = `${resolutions[i]} × ${resolutions[i]}` + (i ? `, refinement ${i}` : ', first image');
      figure.style.setProperty('--stage', i);
      figure.append(frame, label);
      item.append(figure);
      return item;
    });
    this.part('.stages').style.setProperty('--stages', stages.length);
    this.part('.stages').replaceChildren(...items);
  }

  fillWords() {
    const { words, refinements } = this.picture, bar = this.part('.words');
    this.fixed = -1; // the word that was clicked
    const buttons = words.map((word, i) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'word';
      button.tabIndex = i ? -1 : 0;
      button.setAttribute('aria-pressed', 'false');
      button.append(word, gates(refinements, i));
      button.addEventListener('pointerenter', event => event.pointerType === 'mouse' && this.select(i));
      button.addEventListener('focus', () => this.select(i));
      button.addEventListener('click', () => this.fix(i));
      return button;
    });
    bar.replaceChildren(...buttons);
    bar.onpointerleave = () => this.select(this.fixed);
    bar.onfocusout = event => bar.contains(event.relatedTarget) || this.select(this.fixed);
    bar.onkeydown = event => this.walk(event, buttons);
  }

  walk(event, buttons) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (event.key === 'Escape') this.fix(-1);
    if (!step) return;
    event.preventDefault();
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    buttons.forEach(each => { each.tabIndex = each === next ? 0 : -1; });
    next.focus();
  }

  fix(index) {
    this.fixed = this.fixed === index ? -1 : index;
    [...this.part('.words').children].forEach((each, i) => each.setAttribute('aria-pressed', String(i === this.fixed)));
    this.select(this.fixed);
  }

  /** Show where the word was read, and say how far it was written. */
  select(index) {
    this.maps.forEach(map => map?.show(index));
    this.part('.readout').textContent = index < 0 ? this.hint() : this.sentence(index);
  }

  hint() {
    const { refinements } = this.picture;
    if (!refinements.some(each => each.attention)) return 'This architecture reads no words while it refines.';
    const bars = refinements.some(each => each.writing_gates.length);
    return 'Point at a word to see where the memory was read for it.' +
      (bars ? ' The bars below it: how far the gate wrote it, at each refinement.' : '');
  }

  sentence(index) {
    const percent = share => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
    const parts = this.picture.refinements.map((each, i) => {
      const said = [];
      if (each.reading.length) said.push(`${percent(each.reading[index])} of what is read`);
      if (each.writing_gates.length) said.push(`written with gate ${each.writing_gates[index].toFixed(2)}`);
      return said.length ? `refinement ${i + 1}: ${said.join(', ')}` : '';
    });
    return `“${this.picture.words[index]}” — ${parts.filter(Boolean).join('; ')}.`;
  }

  fillNoises() {
    const strip = this.part('.noises');
    strip.hidden = this.pictures.length < 2;
    strip.replaceChildren(...this.pictures.map((each, i) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.title = `noise ${each.number}`;
      const image = picture(source(each), each.resolutions.at(-1));
      image.alt = `noise ${each.number}`;
      button.append(image);
      button.addEventListener('click', () => this.show(i));
      return button;
    }));
  }

  fillDownload() {
    const { caption, number, seed, model, media_type: media } = this.picture, link = this.part('.download');
    const name = caption.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '').slice(0, 60);
    link.href = source(this.picture);
    link.download = `${name}-${model.replace(/\W+/g, '-')}-seed${seed}-noise${number}.${media.split('/')[1]}`;
  }

  async copyLink() {
    const { model, ...rest } = this.picture, address = addressOf({ ...rest, models: [model] });
    const button = this.part('.link'), field = this.part('.address');
    field.value = address;
    try {
      await navigator.clipboard.writeText(address);
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy link'; }, 1500);
    } catch { // not over plain HTTP from elsewhere: the address is shown, to be copied by hand
      field.hidden = false;
      field.select();
    }
  }

  mark(kept, keep) {
    this.kept = kept;
    this.element.classList.toggle('kept', kept);
    this.part('.pin').setAttribute('aria-pressed', String(kept));
    this.part('.pin').textContent = kept ? 'Let go' : 'Keep to compare';
    keep(this, kept);
  }
}

function picture(address, pixels) {
  const image = new Image();
  image.src = address;
  image.classList.toggle('coarse', pixels < COARSE);
  return image;
}

function gates(refinements, index) {
  const bars = document.createElement('span');
  bars.className = 'gates';
  for (const { writing_gates: written } of refinements) {
    if (!written.length) continue;
    const bar = document.createElement('span'), filled = document.createElement('i');
    bar.className = 'gate';
    filled.style.width = `${100 * written[index]}%`;
    bar.append(filled);
    bars.append(bar);
  }
  return bars;
}
