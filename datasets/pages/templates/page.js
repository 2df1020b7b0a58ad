// Draws the figures, in the page's colours, and sorts tables. `plotted` is settled when all figures are there.
const packed = document.getElementById('plotly');
const plots = [...document.querySelectorAll('.plot')].map(place => {
  const made = JSON.parse(place.querySelector('script').textContent);
  place.textContent = '';
  return { place, made };
});

async function unpackPlotly() {
  const bytes = Uint8Array.from(atob(packed.textContent), letter => letter.charCodeAt(0));
  const stream = new ReadableStream({ start(queue) { queue.enqueue(bytes); queue.close(); } });
  const script = document.createElement('script');
  script.textContent = await new Response(stream.pipeThrough(new DecompressionStream('gzip'))).text();
  document.head.append(script);
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = name => style.getPropertyValue(name).trim();
  const axis = {
    gridcolor: colour('--line'), zerolinecolor: colour('--line'), linecolor: colour('--line'), automargin: true,
    title: { standoff: 8, font: { size: 12 } }, tickfont: { size: 12 }, minexponent: 5,
  };
  const parts = { bgcolor: 'rgba(0,0,0,0)', font: { color: colour('--text') } };
  return {
    layout: {
      colorway: {{ palette | tojson }},
      paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', xaxis: axis, yaxis: axis, legend: parts,
      font: { color: colour('--text'), family: 'system-ui, sans-serif', size: 13 },
      hoverlabel: { bgcolor: colour('--card'), bordercolor: colour('--line'), font: { color: colour('--text') } },
      modebar: { bgcolor: 'rgba(0,0,0,0)', color: colour('--muted'), activecolor: colour('--accent') },
    },
    data: { parcoords: [{ labelfont: { color: colour('--text') }, tickfont: { color: colour('--text') } }] },
  };
}

function draw() {
  const template = theme(), config = { responsive: true, displaylogo: false };
  return Promise.all(plots.map(({ place, made }) =>
    Plotly.react(place, made.data, { ...made.layout, template }, config)));
}

const plotted = plots.length ? unpackPlotly().then(draw).then(() => {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  // Figures were drawn while their rows were not full yet.
  plots.forEach(({ place }) => Plotly.Plots.resize(place));
}).catch(error => {
  plots.forEach(({ place }) => { place.textContent = `This figure could not be drawn by this browser: ${error}`; });
}) : Promise.resolve();

document.querySelectorAll('th[data-sort]').forEach(head => {
  const sort = () => {
    const body = head.closest('table').tBodies[0], column = head.cellIndex;
    const up = head.getAttribute('aria-sort') !== 'ascending';
    head.parentNode.querySelectorAll('th').forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    const key = row => row.cells[column].dataset.value;
    const compare = (a, b) => {
      if (key(a) === '' || key(b) === '') return (key(a) === '') - (key(b) === '');
      const numbers = [Number(key(a)), Number(key(b))];
      const order = numbers.some(isNaN) ? key(a).localeCompare(key(b)) : numbers[0] - numbers[1];
      return up ? order : -order;
    };
    [...body.rows].sort(compare).forEach(row => body.appendChild(row));
  };
  head.tabIndex = 0;
  head.addEventListener('click', sort);
  head.addEventListener('keydown', event => { if (event.key === 'Enter') sort(); });
});
