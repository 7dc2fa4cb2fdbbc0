// One run, from the answer to the digests.

const STATES = {
  running: "This search is still going: what it found so far is shown.",
  interrupted: "This search was interrupted: what it found until then is shown.",
  unfinished: "This search did not come to its end, or an earlier version wrote it: what is there is shown.",
};

function section(title, ...content) {
  const id = freshId("section");
  const shown = content.flat().filter((each) => each !== null && each !== undefined);
  if (!shown.length) return null;
  return make("section", { "aria-labelledby": id }, head(0, { id }, title), shown);
}

function problemList(problems) {
  if (!problems.length) return null;
  return make(
    "div",
    { class: "problem", role: "note" },
    make("p", {}, "Not all of it could be read:"),
    make("ul", {}, problems.map((each) => make("li", {}, each))),
  );
}

function runContent(run) {
  const state = STATES[run.state];
  const stage = run.stage ? ` It was last ${run.stage}.` : "";
  return [
    state ? make("p", { class: "state", role: "status" }, state + stage) : null,
    problemList(run.problems),
    section("The answer", answerTable(run), answerWords(run)),
    section("Stages", lineTable(run)),
    section("The front", frontSection(run)),
    section("How it got there", progressSection([run])),
    section("Layers", layerFigures(run)),
    section("Latency by layer", latencyFigure(run), sharesTable(run)),
    section("Sensitivity", sensitivityFigure(run)),
    section("Left alone", leftAlone(run)),
    section("Where the time went", stagesFigure(run)),
    section("To do it again", again(run)),
  ].filter(Boolean);
}

// Dense and compressed as far as they are known: of the outcome, or else of the policy alone.
function metricsOf(run) {
  if (run.outcome) return { dense: run.outcome.dense, compressed: run.outcome.compressed };
  if (!run.policy) return null;
  const of = (cost, score) => ({
    score,
    predicted_seconds: cost.latency_seconds,
    predicted_cycles: cost.latency_cycles,
    error: cost.latency_error,
    at_least: cost.at_least,
    macs: cost.macs,
    bytes: cost.bytes,
    joules: cost.joules,
  });
  return { dense: of(run.policy.dense, null), compressed: of(run.policy.predicted, run.policy.score) };
}

// A number with its error, both in the number's unit: "0.493 ± 0.013 ms".
function withError(text, value, error) {
  if (!known(error) || !known(value)) return text;
  const [, number, unit] = /([\d.,e+-]+)\s(\S+)$/.exec(text);
  const size = Number(number.replaceAll(",", ""));
  return text.replace(`\u00a0${unit}`, ` ±\u00a0${figures(size * error, 2)}\u00a0${unit}`);
}

function answerTable(run) {
  const found = metricsOf(run);
  if (!found) return make("p", {}, "There is no policy yet.");
  const score = scoreOf(run);
  const latency = latencyOf(run);
  const word = sourceWord(run);
  const predicted = (each) => (latency.cycles ? each.predicted_cycles : each.predicted_seconds);
  const bound = (each) => (each.at_least ? "at least " : "");
  const line = (name, value, write, change) => {
    const both = [value(found.dense), value(found.compressed)];
    if (!known(both[0]) && !known(both[1])) return null;
    return { name, dense: write(found.dense), compressed: write(found.compressed), change: change(...both) };
  };
  const ratio = (before, after) => (known(before) && known(after) && before ? `× ${(after / before).toFixed(3)}` : "–");
  const plusMinus = (error) => (known(error) ? ` ±\u00a0${score.accurate ? (100 * error).toFixed(2) : figures(error, 2)}` : "");
  const scoreText = (each) => score.write(each.score) + plusMinus(each.score_error);
  const points = (before, after) => {
    if (!known(before) || !known(after)) return "–";
    const sign = after < before ? "−" : "+";
    const size = Math.abs(after - before);
    const text = score.accurate ? `${sign}${(100 * size).toFixed(2)}\u00a0points` : `${sign}${figures(size)}`;
    return text + plusMinus(found.compressed.change_error);
  };
  const rows = [
    line(score.name, (each) => each.score, scoreText, points),
    line(`latency, ${word}`, predicted, (each) => withError(bound(each) + latency.write(predicted(each)), predicted(each), each.error), ratio),
    line("latency, measured", (each) => each.measured_seconds, (each) => withError(secondsText(each.measured_seconds), each.measured_seconds, each.measured_spread), ratio),
    line("size", (each) => each.bytes, (each) => bytesText(each.bytes), ratio),
    line("work", (each) => each.macs, (each) => macsText(each.macs), ratio),
    line("work, counted by fvcore", (each) => each.counted_macs, (each) => macsText(each.counted_macs), ratio),
    line("energy, predicted", (each) => each.joules, (each) => `${bound(each)}${known(each.joules) ? `${figures(each.joules * 1e3)} mJ` : "–"}`, ratio),
  ].filter(Boolean);
  return [
    makeTable(
      "Dense beside compressed",
      [
        { title: "", value: (row) => row.name, left: true },
        { title: "dense", value: (row) => row.dense },
        { title: "compressed", value: (row) => row.compressed },
        { title: "change", value: (row) => row.change },
      ],
      rows,
      { hideCaption: true },
    ),
    latencyBars(run, found, predicted),
  ];
}

// Promised and measured latency with their errors.
function latencyBars(run, found, predicted) {
  const latency = latencyOf(run);
  if (!known(predicted(found.compressed))) return null;
  const names = ["dense", "compressed"];
  const measured = known(found.compressed.measured_seconds);
  const bars = (name, value, error, place) => ({
    type: "bar",
    orientation: "h",
    name,
    y: names,
    x: names.map((each) => known(value(found[each])) ? value(found[each]) * latency.scale : null),
    error_x: {
      type: "data",
      array: names.map((each) => (known(error(found[each])) ? error(found[each]) * value(found[each]) * latency.scale : 0)),
      color: style("--ink"),
    },
    marker: { color: colour(place), line: { color: colour(place), width: 1 }, pattern: { shape: place ? "/" : "" } },
  });
  const word = sourceWord(run);
  return makeFigure({
    title: "Latency promised" + (measured ? " and measured" : ""),
    text: measured
      ? "Bars with their errors: of predictions the known error, of the clock the 68 % interval."
      : `Bars with the known error of what is ${word}; nothing was measured on the device.`,
    height: 210,
    table: () => makeTable(
      "Latency with its errors",
      [
        { title: "", value: (row) => row, left: true },
        { title: word, value: (row) => predicted(found[row]), text: (row) => withError(latency.write(predicted(found[row])), predicted(found[row]), found[row].error) },
        { title: "measured", value: (row) => found[row].measured_seconds, text: (row) => withError(secondsText(found[row].measured_seconds), found[row].measured_seconds, found[row].measured_spread) },
      ],
      names,
    ),
    plot: () => ({
      data: [
        bars(word, predicted, (each) => each.error, 0),
        ...(measured ? [bars("measured", (each) => each.measured_seconds, (each) => each.measured_spread, 1)] : []),
      ],
      layout: layout({
        xaxis: { title: latency.cycles ? "cycles, simulated" : "ms", rangemode: "tozero" },
        yaxis: { autorange: "reversed" },
        barmode: "group",
      }),
    }),
  });
}

function answerWords(run) {
  const start = run.start;
  const policy = run.policy;
  const target = (start && start.target.description) || (policy && policy.target.description) || "";
  const budget = ((start && start.budget) || (policy && policy.budget) || []).join(" and ");
  const agent = (start && start.agent) || (policy && policy.agent) || "";
  const seed = start && known(start.seed) ? start.seed : policy && policy.seed;
  const scored = (run.outcome && run.outcome.scored_on) || (policy && policy.scored_on) || "";
  const states = Object.entries(run.states).map(([state, count]) => `${count} ${state.toLowerCase()}`);
  const error = run.outcome && known(run.outcome.compressed.score_error);
  const paired = run.outcome && known(run.outcome.compressed.change_error);
  const found = metricsOf(run);
  return [
    pairs("What was asked for", [
      ["target", target],
      ["model", (start && start.model.name) || (policy && policy.model.name)],
      ["budget", budget + (start && start.budget_held ? ` (${start.budget_held})` : "")],
      ["agent", agent && `${agent}, seed ${seed}`],
      ["trials", states.join(", ")],
      ["scored on", scored + (error ? `; ± is the standard error of so many${paired ? ", of the change by the differences input by input" : ""}` : "")],
      ["standard error", found && known(found.compressed.score) && !error ? whyNoError(run) : ""],
    ]),
    run.outcome && run.outcome.notes.length
      ? make("ul", { class: "notes" }, run.outcome.notes.map((each) => make("li", {}, each)))
      : null,
  ];
}

// Why a score has no standard error.
function whyNoError(run) {
  if (!run.outcome) return "not known before the end";
  const { accurate, name } = scoreOf(run);
  if (accurate || ["PSNR", "logits"].includes(name)) return "not kept by this run";
  return "not known: this score gives one number for all inputs, not one an input";
}

function layerFigures(run) {
  const layers = run.outcome ? run.outcome.layers.filter((each) => each.macs[0] > 0) : [];
  if (!layers.length) return policyTable(run);
  const names = layers.map((each) => each.name);
  const rounded = layers.some((each) => each.bits);
  const state = (each) => {
    if (each.removed) return "left out";
    if (each.merged) return "merged";
    return each.form || "";
  };
  const kept = layers.filter((each) => each.removed).length;
  const cut = layers.filter((each) => !each.removed && each.channels[1] < each.channels[0]).length;
  const formed = layers.filter((each) => each.form).length;
  const text = `${layers.length} layers with weights in network order, the dense network behind: ${cut} have fewer channels, ${kept} are left out with their block, ${formed} have another form.`;
  const table = () => makeTable(
    "Layers before and after",
    [
      { title: "layer", value: (row) => row.name, left: true },
      { title: "operator", value: (row) => row.op, left: true },
      { title: "block", value: (row) => row.block, left: true },
      { title: "channels", value: (row) => row.channels[1], text: (row) => `${row.channels[1]} of ${row.channels[0]}` },
      { title: "bits (weights, inputs)", value: (row) => row.bits && row.bits[0], text: (row) => (row.bits ? row.bits.join(", ") : row.merged ? "" : "as they were") },
      { title: "form", value: state, left: true },
      { title: "work before", value: (row) => row.macs[0], text: (row) => macsText(row.macs[0]) },
      { title: "work now", value: (row) => row.macs[1], text: (row) => macsText(row.macs[1]) },
    ],
    layers,
    { sorts: true },
  );
  const bar = (values, place, more) => ({ type: "bar", x: names, y: values, hovertemplate: "%{x}<br>%{y}<extra>%{fullData.name}</extra>", marker: { color: colour(place), line: { color: colour(place), width: 1 }, ...more } });
  const behind = (values) => ({ ...bar(values, 6), name: "dense", width: 0.95, marker: { color: faint(6, 0.3), line: { color: colour(6), width: 1 } } });
  const found = [makeFigure({
    title: "Channels by layer",
    text,
    height: 340,
    table,
    plot: () => ({
      data: [
        { ...behind(layers.map((each) => each.channels[0])), text: layers.map(state), textposition: "outside", cliponaxis: false },
        { ...bar(layers.map((each) => each.channels[1]), 0), name: "kept", width: 0.6 },
      ],
      layout: layout({ barmode: "overlay", xaxis: layerAxis(names), yaxis: { title: "output channels" } }),
    }),
  })];
  if (rounded) found.push(makeFigure({
    title: "Bits by layer",
    text: "Bits of weights and of what the layer reads, the dense network's behind.",
    height: 300,
    table,
    plot: () => ({
      data: [
        { ...behind(layers.map(() => 32)) },
        { ...bar(layers.map((each) => (each.removed ? 0 : each.bits ? each.bits[0] : 32)), 0), name: "weights", width: 0.4, offset: -0.4 },
        { ...bar(layers.map((each) => (each.removed ? 0 : each.bits ? each.bits[1] : 32)), 1, { pattern: { shape: "/" } }), name: "inputs", width: 0.4, offset: 0 },
      ],
      layout: layout({ barmode: "overlay", xaxis: layerAxis(names), yaxis: { title: "bits", tickvals: [0, 4, 8, 16, 32] } }),
    }),
  }));
  const blocks = [...new Set(layers.map((each) => each.block).filter(Boolean))];
  if (blocks.length) {
    const gone = blocks.filter((block) => layers.some((each) => each.block === block && each.removed));
    found.push(make("p", {}, gone.length
      ? `Blocks left out: ${gone.join(", ")} (${gone.length} of ${blocks.length} that could be).`
      : `None of the ${blocks.length} blocks that could be left out is.`));
  }
  return found;
}

function layerAxis(names) {
  return { type: "category", tickangle: -60, tickfont: { size: 10 }, title: "", nticks: names.length > 60 ? 30 : names.length };
}

// Without the layers of an outcome: what the policy file says.
function policyTable(run) {
  const policy = run.policy;
  if (!policy) return null;
  const rows = [
    ...Object.entries(policy.channels).map(([name, each]) => ({ name, kind: "channels", chosen: String(each.kept), dense: String(each.dense) })),
    ...Object.entries(policy.bits).map(([name, each]) => ({ name, kind: "bits", chosen: `${each.weights}, ${each.activations}`, dense: "as they were" })),
    ...policy.removed.map((name) => ({ name, kind: "block", chosen: "left out", dense: "stays" })),
    ...Object.entries(policy.further).flatMap(([kind, options]) => Object.entries(options).map(([name, chosen]) => ({ name, kind, chosen, dense: "as it was" }))),
  ];
  if (!rows.length) return null;
  return makeTable(
    "What the best policy so far chooses",
    [
      { title: "part", value: (row) => row.name, left: true },
      { title: "choice", value: (row) => row.kind, left: true },
      { title: "chosen", value: (row) => row.chosen },
      { title: "dense", value: (row) => row.dense },
    ],
    rows,
    { sorts: true },
  );
}

function latencyFigure(run) {
  const times = run.outcome && run.outcome.times;
  const names = times ? Object.keys({ ...times.dense, ...times.compressed }) : [];
  if (!names.length) return null;
  const latency = latencyOf(run);
  const of = (side, name) => (times[side][name] || [0, ""])[0];
  const rows = names.map((name) => ({
    name,
    before: of("dense", name),
    after: of("compressed", name),
    source: (times.compressed[name] || times.dense[name])[1],
  }));
  const heavy = [...rows].sort((a, b) => Math.max(b.before, b.after) - Math.max(a.before, a.after)).slice(0, 60);
  const drawn = rows.filter((row) => heavy.includes(row));
  const won = [...rows].sort((a, b) => (b.before - b.after) - (a.before - a.after))[0];
  const word = sourceWord(run);
  const unpriced = rows.filter((row) => !known(row.before) || !known(row.after)).length;
  const text = `What each operator is ${word === "predicted" ? "predicted" : word} to take, before and after${rows.length > drawn.length ? `, the ${drawn.length} largest of ${rows.length}` : ""}. The most is won in ${won.name}: ${latency.write(won.before)} becomes ${latency.write(won.after)}.${unpriced ? ` ${unpriced} have no price.` : ""}`;
  const bars = (name, value, place, pattern) => ({
    type: "bar",
    name,
    x: drawn.map((row) => row.name),
    y: drawn.map((row) => (known(value(row)) ? value(row) * latency.scale : null)),
    text: drawn.map((row) => row.source),
    textposition: "none",
    hovertemplate: "%{x}<br>%{y} (%{text})<extra>%{fullData.name}</extra>",
    marker: { color: colour(place), line: { color: colour(place), width: 1 }, pattern: { shape: pattern } },
  });
  return makeFigure({
    title: "Latency by layer",
    text,
    height: 380,
    plot: () => ({
      data: [bars("dense", (row) => row.before, 6, ""), bars("compressed", (row) => row.after, 0, "/")],
      layout: layout({ barmode: "group", xaxis: layerAxis(drawn), yaxis: { title: latency.axis } }),
    }),
    table: () => makeTable(
      "Latency by layer before and after",
      [
        { title: "layer", value: (row) => row.name, left: true },
        { title: "dense", value: (row) => row.before, text: (row) => latency.write(row.before) },
        { title: "compressed", value: (row) => row.after, text: (row) => latency.write(row.after) },
        { title: "won", value: (row) => row.before - row.after, text: (row) => (row.before >= row.after ? latency.write(row.before - row.after) : `−${latency.write(row.after - row.before)}`) },
        { title: "price", value: (row) => row.source, left: true },
      ],
      rows,
      { sorts: true },
    ),
  });
}

// A search in stages, from the dense network to what is delivered.
function lineTable(run) {
  if (!run.line.length) return null;
  const { dense } = run.line[0];
  const rows = [{ name: "dense", cost: dense }, ...run.line];
  const milliseconds = (cost) => (known(cost.latency_seconds) ? `${figures(1000 * cost.latency_seconds, 3)}\u00a0ms` : "");
  const digest = (text) => (text ? make("code", {}, text.slice(0, 12)) : "");
  return [
    makeTable(
      "Stages of this search in their order",
      [
        { title: "", value: (row) => row.name, left: true },
        { title: "budget, of the stage before", value: (row) => (row.budget || []).join(", ") },
        { title: "MACs of dense", value: (row) => row.cost.macs / dense.macs, text: (row) => percent(row.cost.macs / dense.macs, 1) },
        { title: "latency", value: (row) => row.cost.latency_seconds, text: (row) => milliseconds(row.cost) },
        { title: "score after training", value: (row) => row.score, text: (row) => (known(row.score) ? figures(row.score, 4) : "") },
        { title: "trained by", value: (row) => row.recovered || "" },
        { title: "began with", value: () => "", text: (row) => digest(row.parent) },
        { title: "weights left", value: () => "", text: (row) => digest(row.weights_digest) },
      ],
      rows,
      { hideCaption: true },
    ),
    make("p", { class: "quiet" }, "Each stage searched what the one before left, within its own budget, and was trained. Scores are those of the validation data. A stage began with the policy of that digest, the first with the dense weights and the data."),
  ];
}

// How much of each latency was measured, interpolated and fitted.
function sharesTable(run) {
  const policy = run.policy;
  if (!policy) return null;
  const kinds = ["measured", "interpolated", "fitted"];
  const rows = [["dense", policy.dense], ["compressed", policy.predicted]]
    .filter(([, each]) => kinds.some((kind) => each[kind] > 0))
    .map(([name, each]) => ({ name, shares: kinds.map((kind) => each[kind]) }));
  if (!rows.length) return null;
  const bar = (row) => make(
    "span",
    { class: "shares", "aria-hidden": "true" },
    row.shares.map((share, place) => {
      const part = make("span", { class: kinds[place] });
      part.style.width = `${100 * share}%`;
      return part;
    }),
  );
  const simulated = latencyOf(run).cycles ? " All of it is a simulator's." : "";
  return [
    head(1, {}, "Where the predicted latency comes from"),
    makeTable(
      "Shares of the predicted latency by where its prices come from",
      [
        { title: "", value: (row) => row.name, left: true },
        ...kinds.map((kind, place) => ({ title: kind, value: (row) => row.shares[place], text: (row) => percent(row.shares[place], 1) })),
        { title: "", value: () => "", text: bar },
      ],
      rows,
      { hideCaption: true },
    ),
    make("p", { class: "quiet" }, `Measured: rows of the device's table. Interpolated: between rows that differ in channels alone. Fitted: computed by a model that was fitted to other operators.${simulated}`),
  ];
}

function sensitivityFigure(run) {
  const start = run.start;
  if (!start || !start.sensitivity.single.length) return null;
  const policy = chosenOf(run);
  const rows = start.variables.map((variable, place) => {
    const single = start.sensitivity.single[place] || [];
    const chosen = policy ? policy[place] : null;
    const most = single.findIndex((each) => known(each));
    return {
      name: variable.name ? `${variable.kind}: ${variable.name}` : variable.kind,
      most: most < 0 ? null : single[most],
      mostOption: most < 0 ? "" : variable.options[most],
      chosen: chosen === null ? null : single[chosen],
      chosenOption: chosen === null ? "" : variable.options[chosen],
    };
  }).filter((row, place) => start.variables[place].options.length > 1);
  if (!rows.length) return null;
  const heavy = [...rows].sort((a, b) => (b.most || 0) - (a.most || 0)).slice(0, 80);
  const drawn = rows.filter((row) => heavy.includes(row));
  const point = (name, value, option, place) => ({
    type: "scatter",
    mode: "markers",
    name,
    x: drawn.map((row) => row.name),
    y: drawn.map((row) => (value(row) > 0 ? value(row) : null)),
    text: drawn.map(option),
    hovertemplate: "%{x}<br>%{text}: %{y:.2e}<extra>%{fullData.name}</extra>",
    marker: { color: colour(place), symbol: SYMBOLS[place], size: 8 },
  });
  return makeFigure({
    title: "What each choice does alone",
    text: `Mean squared change of the outputs relative to their variance, on ${start.sensitivity.images} inputs, of the option that changes most and of the one in the best trial${rows.length > drawn.length ? `; the ${drawn.length} most sensitive of ${rows.length}` : ""}. Points at zero are not drawn.`,
    height: 380,
    plot: () => ({
      data: [
        point("changes most", (row) => row.most, (row) => row.mostOption, 1),
        ...(policy ? [point("chosen", (row) => row.chosen, (row) => row.chosenOption, 0)] : []),
      ],
      layout: layout({ xaxis: layerAxis(drawn), yaxis: { title: "sensitivity", type: "log", exponentformat: "power", dtick: 1 } }),
    }),
    table: () => makeTable(
      "Sensitivity of each choice",
      [
        { title: "choice", value: (row) => row.name, left: true },
        { title: "option that changes most", value: (row) => row.mostOption },
        { title: "sensitivity", value: (row) => row.most, text: (row) => figures(row.most, 2) },
        { title: "chosen", value: (row) => row.chosenOption },
        { title: "its sensitivity", value: (row) => row.chosen, text: (row) => figures(row.chosen, 2) },
      ],
      rows,
      { sorts: true },
    ),
  });
}

// The choices of the best trial of the last study.
function chosenOf(run) {
  const trials = scoredTrials(run);
  if (!trials.length) return null;
  const last = trials.at(-1).study;
  const best = trials.filter((each) => each.study === last).reduce((a, b) => (b.score > a.score ? b : a));
  return best.chosen;
}

function leftAlone(run) {
  if (!run.start) return null;
  const parts = run.start.left_alone;
  if (!parts.length) return make("p", {}, "Nothing: every channel group, block and layer could be chosen for.");
  const reasons = new Map();
  for (const each of parts) reasons.set(each.reason, [...(reasons.get(each.reason) || []), each.name]);
  return make("ul", {}, [...reasons].map(([reason, names]) => make(
    "li",
    {},
    make("strong", {}, names.slice(0, 6).join(", ") + (names.length > 6 ? ` and ${names.length - 6} more` : "")),
    `: ${reason}`,
  )));
}

function stagesFigure(run) {
  const rows = run.stages.filter(([, seconds]) => seconds > 0).map(([name, seconds]) => ({ name, seconds }));
  if (!rows.length) return null;
  const whole = rows.reduce((sum, row) => sum + row.seconds, 0);
  const peaks = new Map(((run.outcome && run.outcome.stages) || []).map((each) => [each.name, each.peak_bytes]));
  return makeFigure({
    title: `${durationText(whole)} in all`,
    text: `Wall time of each stage${run.sessions > 1 ? `, of ${run.sessions} sessions together` : ""}.`,
    height: 60 + 28 * rows.length,
    plot: () => ({
      data: [{
        type: "bar", orientation: "h",
        x: rows.map((row) => row.seconds), y: rows.map((row) => row.name),
        text: rows.map((row) => durationText(row.seconds)), textposition: "auto", insidetextfont: { color: style("--paper") },
        marker: { color: colour(0) }, hovertemplate: "%{y}: %{text}<extra></extra>",
      }],
      layout: layout({ xaxis: { title: "seconds" }, yaxis: { autorange: "reversed" } }),
    }),
    table: () => makeTable(
      "Stages",
      [
        { title: "stage", value: (row) => row.name, left: true },
        { title: "time", value: (row) => row.seconds, text: (row) => durationText(row.seconds) },
        { title: "share", value: (row) => row.seconds, text: (row) => percent(row.seconds / whole, 1) },
        { title: "peak memory until its end", value: (row) => peaks.get(row.name), text: (row) => bytesText(peaks.get(row.name)) },
      ],
      rows,
      { sorts: true },
    ),
  });
}

function again(run) {
  const start = run.start;
  const policy = run.policy;
  const made = policy && policy.made_with;
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  const code = (text) => (text ? make("code", {}, text) : "");
  return [
    start && start.command ? make("pre", { tabindex: "0" }, make("code", {}, start.command)) : null,
    make(
      "div",
      { class: "columns" },
      start ? pairs("Options that are not as usual", Object.entries(start.options).map(([name, value]) => [name, shown(value)])) : null,
      start ? pairs("Versions", Object.entries(start.versions)) : pairs("Versions", policy ? [["automl", policy.automl]] : []),
      pairs("Digests", [
        ["model", code((start && start.model.fingerprint) || (policy && policy.model.fingerprint))],
        ["weights", code(start && start.weights_digest)],
        ["data", code(start && start.data_digest)],
        ["calibration inputs", code(made && made.inputs_digest)],
        ["latency table", code((start && start.target.table_digest) || (policy && policy.target.table_digest))],
      ]),
      pairs("How weights are made", made ? Object.entries(made).filter(([name]) => name !== "inputs_digest").map(([name, value]) => [name, shown(value)]) : []),
      pairs("When", start ? [["began", start.began], ["finished", run.outcome && run.outcome.finished], ["folder", run.folder]] : [["folder", run.folder]]),
    ),
  ];
}
