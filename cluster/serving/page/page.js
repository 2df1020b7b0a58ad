// The page: what is asked for, the pictures shown, and those drawn before.
import { Refusal, call } from './api.js';
import { CaptionBox } from './caption.js';
import { Drawing, addressOf, source } from './drawing.js';

const KEPT = 96; // pictures of the history
const UNCUT = 3; // the slider's end, where the noise is not truncated

const part = id => document.getElementById(id);
const form = part('ask'), shown = part('drawings');
const box = new CaptionBox(chosen);
let cards = []; // by model: resolutions and limits
let latest = []; // drawings of the last request
let compared = []; // those that are kept beside it

function chosen() {
  const checked = [...part('models').querySelectorAll(':checked')].map(input => input.value);
  return checked.length ? checked : cards.slice(0, 1).map(card => card.name);
}

function settings() {
  const truncation = part('truncation').valueAsNumber;
  return {
    models: chosen(),
    caption: box.text,
    seed: natural('seed'),
    number: natural('number'),
    truncation: truncation < UNCUT ? truncation : null,
  };
}

/** A field's whole number; what is none becomes 0, where one can see it. */
function natural(id) {
  const value = part(id).valueAsNumber;
  if (!(Number.isSafeInteger(value) && value >= 0)) part(id).value = 0;
  return part(id).valueAsNumber;
}

async function draw() {
  const asked = settings();
  if (!asked.caption) return box.field.focus();
  wait(true);
  const count = Number(part('count').value);
  const results = await Promise.allSettled(asked.models.map(model => pictures(model, asked, count)));
  wait(false);
  const sets = results.filter(each => each.status === 'fulfilled').map(each => each.value);
  say(results.map(({ reason }, i) => reason && refusal(reason, asked.models[i])).filter(Boolean).join(' '));
  if (!sets.length) return;
  history.replaceState(null, '', addressOf(asked));
  latest = sets.map(set => new Drawing(set, keep));
  sets.flat().forEach(remember);
  arrange();
}

/** What a model that does not draw says; with several models, whose line it is. */
function refusal(reason, model) {
  if (!(reason instanceof Refusal)) throw reason;
  return chosen().length > 1 ? `${model}: ${reason.message}.` : reason.message;
}

async function pictures(model, { caption, seed, number, truncation }, count) {
  const body = { model, captions: [caption], count, number, seed, truncation, details: true };
  const answer = await call('v1/images', body, () => say('The model has much to do; trying again…'));
  const { resolutions } = cards.find(card => card.name === model);
  return answer.images.map(image => (
    { ...image, model, step: answer.step, media_type: answer.media_type, resolutions }));
}

function keep(drawing, kept) {
  compared = kept ? [drawing, ...compared] : compared.filter(each => each !== drawing);
  arrange();
}

/** The last drawings first, then those kept; moving one that is there keeps what is selected in it. */
function arrange() {
  const drawings = [...latest, ...compared.filter(each => !latest.includes(each))];
  const elements = drawings.map(each => each.element);
  if (elements.some((each, i) => shown.children[i] !== each) || shown.children.length > elements.length) {
    shown.replaceChildren(...elements);
  }
}

function remember(picture) {
  const item = document.createElement('li'), card = document.createElement('button');
  const image = new Image(), caption = document.createElement('span'), noise = document.createElement('small');
  image.src = source(picture);
  image.alt = '';
  image.classList.toggle('coarse', picture.resolutions.at(-1) < 128);
  caption.textContent = picture.caption;
  noise.textContent = cards.length > 1 ? `${picture.model}, noise ${picture.number}` : `noise ${picture.number}`;
  card.type = 'button';
  card.className = 'card';
  card.append(image, caption, noise);
  card.addEventListener('click', () => showAgain(picture));
  item.append(card);
  part('cards').prepend(item);
  while (part('cards').children.length > KEPT) part('cards').lastChild.remove();
  part('history').hidden = false;
}

function showAgain(picture) {
  box.text = picture.caption;
  part('seed').value = picture.seed;
  part('number').value = picture.number;
  setTruncation(picture.truncation);
  latest = [new Drawing([picture], keep)];
  history.replaceState(null, '', addressOf({ ...picture, models: [picture.model] }));
  arrange();
  form.scrollIntoView({ block: 'start' });
}

function anotherNoise() {
  part('number').value = natural('number') + Number(part('count').value);
  draw();
}

function setTruncation(value) {
  part('truncation').value = value ?? UNCUT;
  part('truncation-shown').value = value == null ? 'none' : `±${value}`;
}

function wait(busy) {
  part('draw').disabled = part('reroll').disabled = busy;
  part('draw').textContent = busy ? 'Drawing…' : 'Draw';
  shown.classList.toggle('waiting', busy);
  shown.setAttribute('aria-busy', String(busy));
}

function say(problem) {
  part('problem').textContent = problem;
  part('problem').hidden = !problem;
}

function offerModels(wanted) {
  part('models').hidden = cards.length < 2;
  const first = wanted.length ? wanted : [cards[0].name];
  part('models').append(...cards.map(({ name }) => {
    const label = document.createElement('label'), input = document.createElement('input');
    const text = document.createElement('span');
    input.type = 'checkbox';
    input.value = name;
    input.checked = first.includes(name);
    text.textContent = name;
    label.append(input, text);
    return label;
  }));
  part('models').addEventListener('change', () => box.read());
}

async function start() {
  const query = new URLSearchParams(location.search);
  cards = (await call('v1/models')).models;
  offerModels(query.getAll('model').filter(name => cards.some(card => card.name === name)));
  const missing = query.getAll('model').filter(name => !cards.some(card => card.name === name));
  if (missing.length) say(`${missing.join(', ')}: not served here; expected ${cards.map(card => card.name).join(', ')}`);
  for (const id of ['seed', 'number']) if (query.has(id)) part(id).value = query.get(id);
  const truncation = Number(query.get('truncation'));
  setTruncation(query.has('truncation') && truncation > 0 && truncation < UNCUT ? truncation : null);
  box.text = query.get('caption') ?? '';
  if (box.text && !missing.length) draw();
  else box.field.focus();
}

form.addEventListener('submit', event => { event.preventDefault(); draw(); });
part('reroll').addEventListener('click', anotherNoise);
part('truncation').addEventListener('input', event => setTruncation(settings().truncation));
document.addEventListener('keydown', event => {
  const typing = event.target.closest('input, textarea, select, dialog');
  if (event.key === 'r' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && !part('reroll').disabled) {
    anotherNoise();
  }
});
start().catch(error => say(error.message));
