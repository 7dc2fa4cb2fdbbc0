// The trials of runs: the front, the best so far, and what one trial chose.

// Per trial of a run: its place and numbers, for those that were scored.
function scoredTrials(run) {
  const trials = run.trials;
  const found = [];
  for (let place = 0; place < trials.number.length; place += 1) {
    if (trials.state[place] !== "COMPLETE" || !known(trials.score[place])) continue;
    found.push({
      place,
      number: trials.number[place],
      study: trials.study[place],
      score: trials.score[place],
      latency: trials.latency[place],
      macs: trials.macs[place],
      bytes: trials.bytes[place],
      at: trials.at[place],
      chosen: trials.chosen[place],
    });
  }
  return found;
}

// What is drawn along the front: latency, or MACs where no time is known.
function costOf(run, trials) {
  const latency = latencyOf(run);
  if (trials.some((each) => known(each.latency))) {
    return {
      value: (each) => (known(each.latency) ? each.latency * latency.scale : null),
      title: `${sourceWord(run)} latency (${latency.axis})`,
      timed: true,
    };
  }
  return { value: (each) => each.macs, title: "MACs", timed: false };
}

function frontOf(trials, cost) {
  const ordered = trials.filter((each) => known(cost.value(each)));
  ordered.sort((a, b) => cost.value(a) - cost.value(b) || b.score - a.score);
  let best = -Infinity;
  return ordered.filter((each) => {
    if (each.score <= best) return false;
    best = each.score;
    return true;
  });
}

function nameOfTrial(trial, run) {
  const several = run.trials.study.at(-1) > 0;
  return several ? `trial ${trial.number} of study ${trial.study + 1}` : `trial ${trial.number}`;
}

// A policy in a few words: how many choices of each kind are not as in the dense network.
function policyWords(run, chosen) {
  if (!chosen || !run.start) return "its choices are not known";
  const kinds = new Map();
  run.start.variables.forEach((variable, place) => {
    const [changed, all] = kinds.get(variable.kind) || [0, 0];
    const differs = chosen[place] !== variable.options.length - 1;
    kinds.set(variable.kind, [changed + differs, all + 1]);
  });
  const words = [...kinds].filter(([, [changed]]) => changed);
  if (!words.length) return "as the dense network";
  return words.map(([kind, [changed, all]]) => `${kind}: ${changed} of ${all} changed`).join(" · ");
}

function trialText(run, trial) {
  const score = scoreOf(run);
  const latency = latencyOf(run);
  const cost = known(trial.latency)
    ? `${sourceWord(run)} ${latency.write(trial.latency)}`
    : macsText(trial.macs);
  return `${nameOfTrial(trial, run)}: ${score.write(trial.score)}, ${cost}, ${bytesText(trial.bytes)}`;
}

// What one trial chose, choice by choice, beside the dense network.
function trialTable(run, trial) {
  if (!trial.chosen || !run.start) return make("p", {}, "The log does not say what it chose.");
  const rows = run.start.variables.map((variable, place) => ({
    kind: variable.kind,
    name: variable.name || "the network",
    chosen: variable.options[trial.chosen[place]],
    dense: variable.options[variable.options.length - 1],
    rowClass: trial.chosen[place] === variable.options.length - 1 ? "same" : null,
    alone: (run.start.sensitivity.single[place] || [])[trial.chosen[place]],
  }));
  return makeTable(
    `What ${nameOfTrial(trial, run)} chose`,
    [
      { title: "part", value: (row) => row.name, left: true },
      { title: "choice", value: (row) => row.kind, left: true },
      { title: "chosen", value: (row) => row.chosen },
      { title: "dense", value: (row) => row.dense },
      { title: "sensitivity alone", value: (row) => row.alone, text: (row) => figures(row.alone, 2) },
    ],
    rows,
    { sorts: true },
  );
}

function frontSection(run) {
  const trials = scoredTrials(run);
  if (!trials.length) return make("p", {}, "No trial was scored so far.");
  const cost = costOf(run, trials);
  const score = scoreOf(run);
  const front = frontOf(trials, cost);
  const detail = make("div", { class: "detail", "aria-live": "polite" });
  const byNumber = new Map(trials.map((each) => [String(each.place), each]));
  const show = (trial) => {
    detail.replaceChildren(
      head(1, {}, trialText(run, trial)),
      make("p", {}, policyWords(run, trial.chosen)),
      trialTable(run, trial),
    );
  };
  const select = make("select", {
    onchange: () => byNumber.has(select.value) && show(byNumber.get(select.value)),
  });
  select.append(make("option", { value: "" }, "choose a trial of the front"));
  for (const each of front) select.append(make("option", { value: String(each.place) }, trialText(run, each)));
  const chooser = make("label", { class: "choose" }, "Show the layers of ", select);
  const accuracy = score.accurate && isAccuracy(score.search);
  const y = (value) => (accuracy ? 100 * value : value);
  const note = run.shown < run.counted
    ? ` Of ${run.counted.toLocaleString("en")} trials ${run.shown.toLocaleString("en")} are shown: all of the front, all that were the best so far, and an even share of the others.`
    : "";
  return makeFigure({
    title: "The front",
    text: `${score.search} on validation inputs against ${cost.title}, all ${trials.length.toLocaleString("en")} scored trials; the line joins those that no other beats. A trial given up early has an estimate.${note}`,
    height: 420,
    scores: trials.map((each) => y(each.score)),
    plot: (axis) => frontPlot(run, { trials, front, cost, y, score, accuracy, axis }),
    table: () => make(
      "div",
      {},
      trialsTable("Trials of the front", run, front, cost),
      later("All scored trials", () => trialsTable("All scored trials", run, trials, cost)),
    ),
    below: make("div", {}, chooser, detail),
    ready: (area) => {
      area.on("plotly_click", (event) => {
        const trial = byNumber.get(String(event.points[0].customdata));
        if (trial) show(trial);
      });
    },
  });
}

function frontPlot(run, { trials, front, cost, y, score, accuracy, axis }) {
  const points = (some) => ({
    x: some.map(cost.value),
    y: some.map((each) => axis.y(y(each.score))),
    customdata: some.map((each) => each.place),
    text: some.map((each) => `${trialText(run, each)}<br>${policyWords(run, each.chosen)}`),
    hovertemplate: "%{text}<extra></extra>",
  });
  const signs = (some, sign) => ({
    symbol: axis.cut ? some.map((each) => (axis.below(y(each.score)) ? "triangle-down" : sign)) : sign,
  });
  // Very many have no outlines, which take long to draw.
  const look = trials.length > 2000
    ? { color: colour(5), size: 4 }
    : { color: faint(5, 0.45), line: { color: colour(5), width: 1 }, size: 7 };
  const data = [
    {
      ...points(trials),
      type: "scatter",
      mode: "markers",
      name: "trials",
      marker: { ...signs(trials, "circle"), ...look },
    },
    {
      ...points(front),
      type: "scatter",
      mode: "lines+markers",
      name: "front",
      line: { color: colour(0), width: 2, shape: "hv" },
      marker: { ...signs(front, "diamond"), color: colour(0), size: 9 },
    },
  ];
  const limit = budgetLine(run, cost);
  return {
    data,
    layout: layout({
      xaxis: { title: cost.title },
      yaxis: { title: accuracy ? `${score.search} (%)` : score.search, ...axis.range },
      shapes: limit === null ? [] : [{
        type: "line", x0: limit, x1: limit, yref: "paper", y0: 0, y1: 1,
        line: { color: colour(1), width: 2, dash: "dash" },
        label: { text: "budget", textposition: "end", textangle: 0, xanchor: "right", font: { color: style("--ink") } },
      }],
    }),
  };
}

// Where the budget of time lies; null where it is not one of time, or an earlier version kept only
// its rounded text, beside which trials within the budget would seem to be beyond it.
function budgetLine(run, cost) {
  const limit = cost.timed && run.start ? run.start.limits.latency : null;
  return known(limit) ? limit * latencyOf(run).scale : null;
}

function trialsTable(caption, run, trials, cost) {
  const score = scoreOf(run);
  return makeTable(
    caption,
    [
      { title: "trial", value: (row) => row.number, text: (row) => nameOfTrial(row, run), left: true },
      { title: score.search, value: (row) => row.score, text: (row) => (isAccuracy(score.search) ? percent(row.score) : figures(row.score, 4)) },
      { title: cost.title, value: cost.value, text: (row) => figures(cost.value(row), 4) },
      { title: "MACs", value: (row) => row.macs, text: (row) => macsText(row.macs) },
      { title: "size", value: (row) => row.bytes, text: (row) => bytesText(row.bytes) },
      { title: "policy", value: (row) => policyWords(run, row.chosen), left: true },
    ],
    trials,
    { sorts: true, most: 500 },
  );
}

// The best so far: [{count, at, score}], one a trial that scored more than all before.
function improvementsOf(run) {
  const found = [];
  let best = -Infinity;
  scoredTrials(run).forEach((trial, count) => {
    if (trial.score <= best) return;
    best = trial.score;
    found.push({ ...trial, count: count + 1 });
  });
  return found;
}

function progressSection(runs) {
  const single = runs.length === 1;
  const score = scoreOf(runs[0]);
  const accurate = isAccuracy(score.search);
  const y = (value) => (accurate ? 100 * value : value);
  const lines = runs.map((run) => ({ run, steps: improvementsOf(run), trials: scoredTrials(run) }));
  if (!lines.some((each) => each.steps.length)) return null;
  const scores = lines.flatMap(({ steps }) => steps.map((each) => y(each.score)));
  const plot = (value, title) => (axis) => ({
    data: lines.filter((each) => each.steps.length).map(({ run, steps, trials }, place) => {
      const last = { ...steps.at(-1), count: trials.length, at: trials.at(-1).at };
      const all = [...steps, last];
      return {
        type: "scatter",
        mode: "lines+markers",
        name: run.label,
        showlegend: !single,
        x: all.map(value),
        y: all.map((each) => axis.y(y(each.score))),
        text: all.map((each) => (accurate ? percent(each.score) : figures(each.score, 4))),
        hovertemplate: "%{text}, %{x:.4g}<extra>%{fullData.name}</extra>",
        line: { shape: "hv", color: colour(place), width: 2 },
        marker: { symbol: all.map((each) => (axis.below(y(each.score)) ? "triangle-down" : SYMBOLS[place % SYMBOLS.length])), size: 7 },
      };
    }),
    layout: layout({
      xaxis: { title, rangemode: "tozero" },
      yaxis: { title: accurate ? `${score.search} (%)` : score.search, ...axis.range },
    }),
  });
  const table = () => makeTable(
    "When the best so far got better",
    [
      { title: "run", value: (row) => row.label, left: true },
      { title: "evaluations", value: (row) => row.count },
      { title: "seconds", value: (row) => row.at, text: (row) => figures(row.at) },
      { title: score.search, value: (row) => row.score, text: (row) => (accurate ? percent(row.score) : figures(row.score, 4)) },
    ],
    lines.flatMap(({ run, steps }) => steps.map((each) => ({ ...each, label: run.label }))),
    { most: 500 },
  );
  const text = "The best score so far; the line ends with the last trial.";
  return make(
    "div",
    { class: "two" },
    makeFigure({ title: "Best against evaluations", text, height: 300, scores, plot: plot((each) => each.count, "scored trials"), table }),
    makeFigure({ title: "Best against time", text: `${text} What comes before the first trial counts.`, height: 300, scores, plot: plot((each) => each.at, "seconds since the run began"), table }),
  );
}
