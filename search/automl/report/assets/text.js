// Numbers and texts for people, and elements.

const page = JSON.parse(document.getElementById("data").textContent);

function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function figures(value, count = 3) {
  if (!known(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000 && size < 1e6) return Math.round(value).toLocaleString("en");
  if (size < 1e-4 || size >= 1e6) return value.toExponential(count - 1);
  return String(Number(value.toPrecision(count)));
}

function scaled(value, units, step = 1000) {
  if (!known(value)) return "–";
  let size = value;
  let place = 0;
  while (Math.abs(size) >= step && place < units.length - 1) {
    size /= step;
    place += 1;
  }
  return `${figures(size)}\u00a0${units[place]}`;
}

const bytesText = (value) => scaled(value, ["B", "kB", "MB", "GB", "TB"]);
const macsText = (value) => scaled(value, ["MACs", "kMACs", "MMACs", "GMACs", "TMACs"]);
const cyclesText = (value) => scaled(value, ["cycles", "kcycles", "Mcycles", "Gcycles"]);

function secondsText(value) {
  if (!known(value)) return "–";
  if (value >= 1) return `${figures(value)}\u00a0s`;
  if (value >= 1e-5) return `${figures(value * 1e3)}\u00a0ms`;
  return `${figures(value * 1e6)}\u00a0µs`;
}

function durationText(seconds) {
  if (!known(seconds)) return "–";
  if (seconds < 90) return `${figures(seconds)}\u00a0s`;
  if (seconds < 5400) return `${figures(seconds / 60)}\u00a0min`;
  return `${figures(seconds / 3600)}\u00a0h`;
}

const percent = (share, digits = 2) => (known(share) ? `${(100 * share).toFixed(digits)}\u00a0%` : "–");

function isAccuracy(name) {
  return /^top-1 accuracy/.test(name || "");
}

// What a score is called and how it is written.
function scoreOf(run) {
  const name = (run.start && run.start.score.name) || "score";
  const search = (run.start && run.start.score.ranked_by) || name;
  const accurate = isAccuracy(name);
  const write = (value) => {
    if (!known(value)) return "–";
    if (accurate) return percent(value);
    return name === "psnr" ? `${value.toFixed(2)}\u00a0dB` : figures(value, 4);
  };
  return { name: name === "psnr" ? "PSNR" : name, search, accurate, write };
}

// What a latency is written in: seconds, or cycles where it is simulated.
function latencyOf(run) {
  const unit = run.start ? run.start.target.unit : "seconds";
  const policy = run.policy;
  const cycles = unit === "cycles" || (policy && known(policy.predicted.latency_cycles));
  return {
    cycles,
    write: cycles ? cyclesText : secondsText,
    axis: cycles ? "cycles, simulated" : "ms",
    scale: cycles ? 1 : 1e3,
  };
}

// How predicted latencies came about, in a word.
function sourceWord(run) {
  if (latencyOf(run).cycles) return "simulated";
  const shares = run.policy && run.policy.predicted;
  if (!shares) return "predicted";
  if (shares.fitted > 0.5) return "fitted";
  return "predicted";
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === "") continue;
    element.append(child);
  }
  return element;
}

// Headings: of sections, and of what is in them. On a page of several parts those have headings of
// their own above, so that no level is left out.
let sections = 2;
function head(depth, attributes, ...children) {
  return make(`h${sections + depth}`, { class: depth ? "inner" : "section", ...attributes }, ...children);
}

let numbered = 0;
function freshId(word) {
  numbered += 1;
  return `${word}-${numbered}`;
}
