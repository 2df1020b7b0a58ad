// The caption box: completions from the vocabulary, and a warning for what is not read.
import { call } from './api.js';

const SHOWN = 8; // completions
const PAUSE = 250; // ms without a key before the caption is read
const WORD = /[\p{L}\p{M}\p{N}_]+$/u; // the word that ends at the caret

export class CaptionBox {
  /** `models` gives the names of the models that will draw. */
  constructor(models) {
    this.models = models;
    this.field = document.getElementById('caption');
    this.list = document.getElementById('completions');
    this.note = document.getElementById('reading');
    this.vocabularies = new Map();
    this.active = -1;
    this.field.addEventListener('input', () => this.changed());
    this.field.addEventListener('keydown', event => this.key(event));
    this.field.addEventListener('blur', () => this.close());
    this.list.addEventListener('pointerdown', event => {
      event.preventDefault(); // the caret stays in the field
      const option = event.target.closest('li');
      if (option) this.complete(option.dataset.word);
    });
    new ResizeObserver(() => this.grow()).observe(this.field.parentElement);
  }

  get text() { return this.field.value.replace(/\s+/g, ' ').trim(); }

  set text(caption) {
    this.field.value = caption;
    this.grow();
    this.read();
  }

  changed() {
    this.grow();
    this.suggest();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.read(), PAUSE);
  }

  grow() {
    this.field.style.height = 'auto';
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  /** Say what the models that will draw do not read of the caption. */
  async read() {
    const caption = this.text, models = this.models();
    if (!caption) return this.say([]);
    const readings = await Promise.all(models.map(model => call('v1/words', { caption, model }).catch(() => null)));
    if (caption !== this.text) return; // it has changed meanwhile
    const begun = this.list.hidden ? null : this.begun();
    const said = readings.map(reading => reading && warning(reading, begun));
    if (new Set(said).size < 2) return this.say(said.slice(0, 1));
    this.say(said.map((line, i) => line && `${models[i]}: ${line}`));
  }

  say(lines) { this.note.textContent = lines.filter(Boolean).join(' '); }

  /** The part before the caret of the word that is being written. */
  begun() { return this.field.value.slice(0, this.field.selectionStart).match(WORD)?.[0].toLowerCase(); }

  async vocabulary() {
    const [model] = this.models();
    if (!this.vocabularies.has(model)) {
      const path = `v1/models/${model.split('/').map(encodeURIComponent).join('/')}/vocabulary`;
      this.vocabularies.set(model, call(path).then(answer => answer.words ?? [], () => []));
    }
    return this.vocabularies.get(model);
  }

  async suggest() {
    const before = this.field.value.slice(0, this.field.selectionStart);
    const begun = this.begun();
    const words = begun ? (await this.vocabulary()).filter(word => word.startsWith(begun)) : [];
    if (before !== this.field.value.slice(0, this.field.selectionStart)) return;
    if (!words.length || (words.length === 1 && words[0] === begun)) return this.close();
    this.list.replaceChildren(...words.slice(0, SHOWN).map((word, i) => option(word, begun.length, i)));
    this.list.hidden = false;
    this.choose(-1);
  }

  choose(index) {
    this.active = index;
    [...this.list.children].forEach((each, i) => each.setAttribute('aria-selected', String(i === index)));
    if (index >= 0) this.field.setAttribute('aria-activedescendant', `completion-${index}`);
    else this.field.removeAttribute('aria-activedescendant');
  }

  key(event) {
    const open = !this.list.hidden, count = this.list.children.length;
    if (open && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
      const step = event.key === 'ArrowDown' ? 1 : -1;
      this.choose(this.active < 0 && step < 0 ? count - 1 : (this.active + step + count) % count);
    } else if (open && event.key === 'Escape') {
      this.close();
    } else if (open && this.active >= 0 && (event.key === 'Enter' || event.key === 'Tab')) {
      this.complete(this.list.children[this.active].dataset.word);
    } else if (event.key === 'Enter') {
      this.close();
      this.field.form.requestSubmit();
    } else {
      return;
    }
    event.preventDefault();
  }

  complete(word) {
    const caret = this.field.selectionStart, before = this.field.value.slice(0, caret).replace(WORD, `${word} `);
    this.field.value = before + this.field.value.slice(caret).replace(/^ /, '');
    this.field.setSelectionRange(before.length, before.length);
    this.changed();
    this.close();
  }

  close() {
    this.list.hidden = true;
    this.choose(-1);
  }
}

/** What is not read, but for the word that is `begun` and may be completed. */
function warning({ words, unknown_words: unknown, cut }, begun) {
  const left = unknown.filter(word => word !== begun), said = [];
  if (!words.length && left.length) said.push('None of these words is in the vocabulary.');
  else if (left.length) said.push(`Not in the vocabulary, and left out: ${left.join(', ')}.`);
  if (cut) said.push(`The last ${cut} of the words are beyond what is read.`);
  return said.join(' ');
}

function option(word, begun, i) {
  const item = document.createElement('li'), rest = document.createElement('b');
  rest.textContent = word.slice(begun);
  item.append(word.slice(0, begun), rest);
  item.id = `completion-${i}`;
  item.role = 'option';
  item.dataset.word = word;
  return item;
}
