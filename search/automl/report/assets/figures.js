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

// The same colour with less of it: what is drawn so has an outline of the whole colour.
function faint(place, share) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour(place).slice(at, at + 2), 16));
  return `rgba(${red}, ${green}, ${blue}, ${share})`;
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

// The score that an axis begins at so that a few scores far below do not flatten the others; null
// where it shows all. As `automl.report.lowest_shown`, which says the rule.
function lowestShown(scores) {
  const ordered = scores.filter(known).sort((a, b) => a - b);
  if (!ordered.length) return null;
  const best = ordered.at(-1);
  const middle = (ordered[(ordered.length - 1) >> 1] + ordered[ordered.length >> 1]) / 2;
  const low = middle - 3 * (best - middle);
  return middle < best && best - ordered[0] > 2 * (best - low) ? low : null;
}

// How scores are drawn: from `low` on, those below at the edge with another sign; all of them for null.
function scoreAxis(scores, low) {
  if (low === null) return { cut: false, y: (value) => value, range: {}, below: () => false };
  const best = Math.max(...scores.filter(known));
  const room = 0.05 * (best - low);
  return {
    cut: true,
    y: (value) => (known(value) && value < low ? low - room / 2 : value),
    range: { range: [low - room, best + room] },
    below: (value) => value < low,
  };
}

// A figure that is drawn later: `plot` gives {data, layout}; `table` gives an element, when opened.
// With `scores`, plot is given what `scoreAxis` makes of them, and a button shows their whole range.
function makeFigure({ title, text, height = 340, plot, table = null, below = null, ready = null, scores = null }) {
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
  const drawing = { area, plot, ready, drawn: false };
  if (scores) area.before(rangeButton(drawing, scores, title) ?? "");
  figuresToDraw.push(drawing);
  return figure;
}

// Says what is cut of an axis of scores, with a button for all of it; null where nothing is.
function rangeButton(drawing, scores, title) {
  const low = lowestShown(scores);
  const { plot } = drawing;
  drawing.plot = () => plot(scoreAxis(scores, low));
  if (low === null) return null;
  const count = scores.filter((each) => known(each) && each < low).length;
  const words = count === 1 ? "1 score is far lower and stands" : `${count.toLocaleString("en")} scores are far lower and stand`;
  const button = make("button", { type: "button", class: "range", "aria-pressed": "false", "aria-label": `Show all scores: ${title}` }, "Show all scores");
  button.addEventListener("click", () => {
    const whole = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(whole));
    drawing.plot = () => plot(scoreAxis(scores, whole ? null : low));
    if (drawing.drawn) draw(drawing);
  });
  return make("p", { class: "quiet cut" }, `${words} at the lower edge (▼). `, button);
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
  document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // plotly's own
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
