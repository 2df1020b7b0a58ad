// Calls to the service this page came from.

const TRIES = 4; // of a busy service

/** A refusal: its line is for people. */
export class Refusal extends Error {}

let token = sessionStorage.getItem('token');

/** The JSON of GET path, or of POST path where there is a body. `waiting` is told when the service is busy. */
export async function call(path, body, waiting = () => {}) {
  for (let attempt = 1; ; attempt++) {
    const answer = await send(path, body);
    if (answer.status === 401) {
      await askForToken(attempt > 1);
      continue;
    }
    if (answer.status === 503 && attempt < TRIES) {
      waiting();
      await new Promise(go => setTimeout(go, 1000 * Number(answer.headers.get('Retry-After') || 1)));
      continue;
    }
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refusal(content.detail || `the service answered ${answer.status}`);
    return content;
  }
}

async function send(path, body) {
  const headers = { Accept: 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  try {
    return await fetch(path, { headers, method: body ? 'POST' : 'GET', body: body && JSON.stringify(body) });
  } catch {
    throw new Refusal('the service does not answer');
  }
}

let asking = null; // calls at the same time ask once

function askForToken(again) {
  if (again) token = null;
  asking ??= new Promise(done => {
    const dialog = document.getElementById('door'), field = document.getElementById('token');
    dialog.addEventListener('close', () => {
      token = field.value.trim();
      sessionStorage.setItem('token', token);
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
    field.select();
  });
  return asking;
}
