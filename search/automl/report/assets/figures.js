// Figures: each has a caption, a text for who cannot see it, and a table of its numbers.

// Okabe and Ito's colours, told apart with any kind of colour vision; signs differ as well.
const PALETTES = {
  light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#9A6B00", "#3A8FC2", "#5B5B5B"],
  dark: ["#56B4E9", "#E69F00", "#2BC79A", "#E39CC5", "#F0E442", "#8FC9EE", "#B8B8B8"],
};
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star"];
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const figuresToDraw = [];

function colour(place) {
  const palette = dark.matches ? PALETTES.dark : PALETTES.light;
  return palette[place % palette.length];
}

function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axis(title, more = {}) {
  return {
    title: { text: title, standoff: 8 },
    gridcolor: style("--line"),
    zerolinecolor: style("--line"),
    linecolor: style("--quiet"),
    automargin: true,
    ...more,
  };
}

function layout(more = {}) {
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 13, color: style("--ink") },
    margin: { l: 8, r: 12, t: 8, b: 8 },
    hovermode: "closest",
    hoverlabel: { align: "left", bgcolor: style("--paper"), font: { color: style("--ink") } },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    xaxis: axis(xaxis.title || "", without(xaxis, "title")),
    yaxis: axis(yaxis.title || "", without(yaxis, "title")),
    ...rest,
  };
}

function without(object, name) {
  const { [name]: _, ...rest } = object;
  return rest;
}

// A figure that is drawn later: `plot` gives {data, layout}; `table` gives an element, when opened.
function makeFigure({ title, text, height = 340, plot, table = null, below = null, ready = null }) {
  const caption = freshId("caption");
  const area = make("div", { class: "chart", role: "img", "aria-label": `${title}. ${text}` });
  area.style.height = `${height}px`;
  const figure = make(
    "figure",
    { "aria-labelledby": caption },
    make("figcaption", { id: caption }, make("strong", {}, title), " ", text),
    area,
    below,
  );
  if (table) figure.append(later("The numbers as a table", table));
  figuresToDraw.push({ area, plot, ready, drawn: false });
  return figure;
}

// Details whose content is made when they are first opened.
function later(summary, content, attributes = {}) {
  const details = make("details", attributes, make("summary", {}, summary));
  let made = false;
  details.addEventListener("toggle", () => {
    if (!details.open || made) return;
    made = true;
    details.append(content());
    drawWaiting();
  });
  return details;
}

const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false };

async function draw(figure) {
  const { data, layout: made } = figure.plot();
  await window.Plotly.react(figure.area, data, made, CONFIG);
  if (!figure.drawn && figure.ready) figure.ready(figure.area);
  figure.drawn = true;
  figure.area.dataset.drawn = "yes";
}

// The first figures at once, the others one after the other when nothing else is to be done.
function drawWaiting() {
  if (!window.Plotly) return;
  const waiting = figuresToDraw.filter((each) => !each.drawn && each.area.isConnected);
  const idle = (call) =>
    window.requestIdleCallback ? requestIdleCallback(call, { timeout: 100 }) : setTimeout(call, 1);
  const next = async () => {
    const figure = waiting.shift();
    if (!figure) {
      document.documentElement.dataset.drawn = "all";
      return;
    }
    if (!figure.drawn && figure.area.offsetParent !== null) await draw(figure);
    idle(next);
  };
  next().then(() => {
    if (!document.documentElement.dataset.opened) {
      document.documentElement.dataset.opened = String(Math.round(performance.now()));
    }
  });
}

dark.addEventListener("change", () => {
  for (const figure of figuresToDraw) if (figure.drawn) draw(figure);
});

window.automlReport = { drawAll: drawWaiting };
