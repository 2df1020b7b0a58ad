// The slider shows the pictures of one step; Play goes through them once.
(() => {
  const box = document.getElementById('timeline'), slider = box.querySelector('input');
  if (!slider) return;
  const steps = slider.dataset.steps.split(' ').map(Number);
  const play = box.querySelector('button'), shown = box.querySelector('output');
  const show = () => {
    const chosen = Number(slider.value), text = `step ${steps[chosen].toLocaleString('en')}`;
    box.querySelectorAll('.frame').forEach(frame =>
      [...frame.children].forEach((image, number) => { image.hidden = number !== chosen; }));
    shown.textContent = text;
    slider.setAttribute('aria-valuetext', text);
  };
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; play.textContent = 'Play'; };
  const next = () => {
    slider.value = Number(slider.value) + 1;
    show();
    if (Number(slider.value) === steps.length - 1) stop();
  };
  play.addEventListener('click', () => {
    if (timer) { stop(); return; }
    if (Number(slider.value) === steps.length - 1) { slider.value = 0; show(); }
    play.textContent = 'Pause';
    timer = setInterval(next, 400);
  });
  slider.addEventListener('input', () => { stop(); show(); });
  show();
})();
