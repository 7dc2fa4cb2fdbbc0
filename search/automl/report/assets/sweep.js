// Sweeps and several runs beside each other, and the page as a whole.

const shortTarget = (target) => String(target).replace(/^.*\//, "").replace(/\.jsonl$/, "");

function sweepContent(sweep) {
  const rows = sweep.rows;
  return [
    sweep.interrupted ? make("p", { class: "state", role: "status" }, "This sweep is not finished: what was found so far is shown.") : null,
    problemList(sweep.problems),
    section("Fronts", sweepFronts(rows)),
    section("All searches", sweepTable(rows)),
    section("Where agents differ", agentsTable(rows), partsChooser(rows)),
  ].filter(Boolean);
}

function costOfRow(row) {
  if (known(row.predicted_seconds)) return row.predicted_seconds * 1e3;
  if (known(row.predicted_cycles)) return row.predicted_cycles;
  return row.macs;
}

function costTitle(rows) {
  if (rows.some((row) => known(row.predicted_seconds))) {
    const fitted = rows.some((row) => row.source === "fitted");
    return `${fitted ? "fitted" : "predicted"} latency (ms)`;
  }
  return rows.some((row) => known(row.predicted_cycles)) ? "cycles, simulated" : "MACs";
}

// One figure a target: the searches of each agent, joined by budget.
function sweepFronts(rows) {
  const usable = rows.filter((row) => known(row.score) && known(costOfRow(row)));
  const targets = [...new Set(usable.map((row) => `${row.target}\n${row.model}`))];
  const agents = [...new Set(rows.map((row) => row.agent))];
  if (!usable.length) return make("p", {}, "No search of it has a policy.");
  const found = targets.map((key) => {
    const here = usable.filter((row) => `${row.target}\n${row.model}` === key);
    const title = shortTarget(here[0].target);
    return makeFigure({
      title,
      text: `Score against ${costTitle(here)}: ${here.length} searches by ${new Set(here.map((row) => row.agent)).size} agents; a line joins the searches of an agent.`,
      height: 320,
      table: () => make("div", {}, sweepTable(here)),
      scores: here.map((row) => row.score),
      plot: (axis) => ({
        data: agents.map((agent, place) => agentLine(here.filter((row) => row.agent === agent), agent, place, axis)).filter((each) => each.x.length),
        layout: layout({ xaxis: { title: costTitle(here) }, yaxis: { title: "score", ...axis.range } }),
      }),
    });
  });
  return make("div", { class: targets.length > 1 ? "two" : "" }, found);
}

function agentLine(rows, agent, place, axis) {
  const ordered = [...rows].sort((a, b) => costOfRow(a) - costOfRow(b));
  return {
    type: "scatter",
    mode: "lines+markers",
    name: agent,
    x: ordered.map(costOfRow),
    y: ordered.map((row) => axis.y(row.score)),
    text: ordered.map((row) => `${row.case}<br>${figures(row.score, 4)}, ${(row.budget || []).join(" and ")}, seed ${row.seed}, ${row.trials} trials`),
    hovertemplate: "%{text}<br>%{x:.4g}<extra>%{fullData.name}</extra>",
    line: { color: colour(place), dash: ["solid", "dash", "dot", "dashdot"][place % 4] },
    marker: { color: colour(place), symbol: ordered.map((row) => (axis.below(row.score) ? "triangle-down" : SYMBOLS[place % SYMBOLS.length])), size: 9 },
  };
}

function sweepTable(rows) {
  const several = new Set(rows.map((row) => row.model)).size > 1;
  const columns = [
    { title: "search", value: (row) => row.case, left: true },
    ...(several ? [{ title: "model", value: (row) => row.model, left: true }] : []),
    { title: "target", value: (row) => shortTarget(row.target), left: true },
    { title: "budget", value: (row) => (row.budget || []).join(" and ") },
    { title: "agent", value: (row) => row.agent, left: true },
    { title: "seed", value: (row) => row.seed },
    { title: "state", value: (row) => String(row.state).toLowerCase(), text: (row) => make("span", { title: row.reason || null }, String(row.state).toLowerCase()), left: true },
    { title: "score", value: (row) => row.score, text: (row) => `${figures(row.score, 4)}${row.on_front ? "\u00a0*" : ""}` },
    { title: "predicted", value: costOfRow, text: (row) => (row.at_least ? "at least " : "") + (known(row.predicted_seconds) ? `${secondsText(row.predicted_seconds)}${row.source === "fitted" ? "\u00a0fitted" : ""}` : known(row.predicted_cycles) ? `${cyclesText(row.predicted_cycles)}, simulated` : "–") },
    { title: "measured", value: (row) => row.measured_seconds, text: (row) => secondsText(row.measured_seconds) },
    { title: "size", value: (row) => row.bytes, text: (row) => bytesText(row.bytes) },
    { title: "work", value: (row) => row.macs, text: (row) => macsText(row.macs) },
    { title: "trials", value: (row) => row.trials },
    { title: "time", value: (row) => row.seconds, text: (row) => durationText(row.seconds) },
  ];
  const table = makeTable("All searches; * is on the front of its target", columns, rows, { sorts: true });
  return [filterFor(columns, rows, table), table];
}

// A field that leaves the rows that hold all of its words.
function filterFor(columns, rows, table) {
  const count = make("output", { class: "quiet" }, `${rows.length} searches`);
  const text = rows.map((row) => columns.map((column) => column.value(row) ?? "").join(" ").toLowerCase());
  const field = make("input", { type: "search", placeholder: "such as: rpi4 40% lagrangian" });
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = rows.filter((_, place) => words.every((word) => text[place].includes(word)));
    table.showRows(shown);
    count.textContent = `${shown.length} of ${rows.length} searches`;
  });
  return make("p", { class: "filter" }, make("label", {}, "Only rows with ", field), " ", count);
}

// Searches that differ in the agent alone, beside each other.
function agentsTable(rows) {
  const agents = [...new Set(rows.map((row) => row.agent))];
  if (agents.length < 2) return make("p", {}, "There is one agent.");
  const groups = new Map();
  for (const row of rows) {
    const key = JSON.stringify([row.model, row.data, row.target, row.budget]);
    groups.set(key, [...(groups.get(key) || []), row]);
  }
  const mean = (some, value) => {
    const numbers = some.map(value).filter(known);
    return numbers.length ? numbers.reduce((a, b) => a + b, 0) / numbers.length : null;
  };
  const found = [];
  for (const group of groups.values()) {
    const scores = agents.map((agent) => mean(group.filter((row) => row.agent === agent), (row) => row.score));
    const best = Math.max(...scores.filter(known));
    agents.forEach((agent, place) => {
      const some = group.filter((row) => row.agent === agent);
      if (!some.length) return;
      const chosen = [...new Set(some.flatMap((row) => Object.keys(row.chosen || {})))];
      found.push({
        target: shortTarget(group[0].target),
        budget: (group[0].budget || []).join(" and "),
        agent,
        count: some.length,
        score: scores[place],
        behind: known(scores[place]) ? best - scores[place] : null,
        seconds: mean(some, (row) => row.seconds),
        trials: mean(some, (row) => row.trials),
        chosen: chosen.map((name) => {
          const value = mean(some, (row) => (row.chosen || {})[name]);
          return `${name} ${name === "channels kept" ? percent(value, 0) : figures(value)}`;
        }).join(", "),
      });
    });
  }
  return makeTable(
    "Agents on the same target and budget, means over seeds",
    [
      { title: "target", value: (row) => row.target, left: true },
      { title: "budget", value: (row) => row.budget },
      { title: "agent", value: (row) => row.agent, left: true },
      { title: "searches", value: (row) => row.count },
      { title: "score", value: (row) => row.score, text: (row) => figures(row.score, 4) },
      { title: "behind the best", value: (row) => row.behind, text: (row) => (row.behind === 0 ? "best" : figures(row.behind, 2)) },
      { title: "trials", value: (row) => row.trials, text: (row) => figures(row.trials) },
      { title: "time", value: (row) => row.seconds, text: (row) => durationText(row.seconds) },
      { title: "what it chose", value: (row) => row.chosen, left: true },
    ],
    found,
    { sorts: true },
  );
}

// Searches that differ in the agent alone, part by part: what each agent chose where they differ.
function partsChooser(rows) {
  const groups = new Map();
  for (const row of rows) {
    if (!Object.keys(row.parts || {}).length) continue;
    const key = JSON.stringify([row.model, row.data, row.target, row.budget, row.seed]);
    groups.set(key, [...(groups.get(key) || []), row]);
  }
  const several = [...groups.values()].filter((group) => new Set(group.map((row) => row.agent)).size > 1);
  if (!several.length) return null;
  const models = new Set(several.map(([row]) => row.model)).size > 1;
  const name = ([row]) => [models ? row.model : "", shortTarget(row.target), (row.budget || []).join(" and "), `seed ${row.seed}`].filter(Boolean).join(", ");
  const shown = make("div", { class: "detail", "aria-live": "polite" });
  const select = make("select", { onchange: () => shown.replaceChildren(...partsTable(several[Number(select.value)])) });
  several.forEach((group, place) => select.append(make("option", { value: String(place) }, name(group))));
  shown.append(...partsTable(several[0]));
  return make("div", {}, head(1, {}, "Part by part"), make("label", { class: "choose" }, "Where agents chose otherwise: ", select), shown);
}

function partsTable(group) {
  const names = [...new Set(group.flatMap((row) => Object.keys(row.parts)))];
  const chosen = (row, name) => row.parts[name] ?? (name.startsWith("block ") ? "stays" : "as it was");
  const differ = names.filter((name) => new Set(group.map((row) => chosen(row, name))).size > 1);
  const text = `${differ.length} of ${names.length} parts differ.`;
  if (!differ.length) return [make("p", {}, text)];
  return [
    make("p", {}, text),
    makeTable(
      "What each agent chose, where they differ",
      [
        { title: "part", value: (row) => row.name, left: true },
        ...group.map((row, place) => ({ title: row.agent, value: (each) => each.chosen[place] })),
      ],
      differ.map((name) => ({ name, chosen: group.map((row) => chosen(row, name)) })),
      { sorts: true, most: 500 },
    ),
  ];
}

// Several runs in one table and in one figure.
function comparison(runs) {
  const rows = runs.map((run) => ({ run, found: metricsOf(run) }));
  const of = (row, side, name) => (row.found ? row.found[side][name] : null);
  const table = makeTable(
    "Runs beside each other",
    [
      { title: "run", value: (row) => row.run.label, text: (row) => make("a", { href: `#${row.run.anchor}` }, row.run.label), left: true },
      { title: "target", value: (row) => (row.run.policy ? shortTarget(row.run.policy.target.name) : null), left: true },
      { title: "budget", value: (row) => (row.run.policy ? row.run.policy.budget.join(" and ") : null) },
      { title: "agent", value: (row) => (row.run.policy ? row.run.policy.agent : null), left: true },
      { title: "score", value: (row) => of(row, "compressed", "score"), text: (row) => scoreOf(row.run).write(of(row, "compressed", "score")) },
      { title: "predicted", value: (row) => of(row, "compressed", "predicted_seconds") ?? of(row, "compressed", "predicted_cycles"), text: (row) => `${latencyOf(row.run).write(of(row, "compressed", "predicted_seconds") ?? of(row, "compressed", "predicted_cycles"))}${sourceWord(row.run) === "predicted" ? "" : ` ${sourceWord(row.run)}`}` },
      { title: "measured", value: (row) => of(row, "compressed", "measured_seconds"), text: (row) => secondsText(of(row, "compressed", "measured_seconds")) },
      { title: "size", value: (row) => of(row, "compressed", "bytes"), text: (row) => bytesText(of(row, "compressed", "bytes")) },
      { title: "trials", value: (row) => row.run.counted },
      { title: "state", value: (row) => row.run.state, left: true },
    ],
    rows,
    { sorts: true },
  );
  const same = runs.every((run) => scoreOf(run).search === scoreOf(runs[0]).search);
  const drawn = runs.filter((run) => scoredTrials(run).length);
  const timed = drawn.every((run) => !latencyOf(run).cycles);
  const fronts = same && timed && drawn.length > 1 ? frontsFigure(drawn) : null;
  return section("Runs beside each other", table, fronts, same ? progressSection(runs) : null);
}

function frontsFigure(runs) {
  const score = scoreOf(runs[0]);
  const accurate = isAccuracy(score.search);
  const y = (each) => (accurate ? 100 * each.score : each.score);
  const fronts = runs.map((run) => {
    const cost = costOf(run, scoredTrials(run));
    return { run, cost, front: frontOf(scoredTrials(run), cost) };
  });
  return makeFigure({
    title: "Fronts",
    text: `The front of each run: ${score.search} on validation inputs against latency, as each target predicts it.`,
    height: 380,
    table: () => makeTable(
      "Trials of the fronts",
      [
        { title: "run", value: (row) => row.run.label, left: true },
        { title: "latency (ms)", value: (row) => row.cost, text: (row) => figures(row.cost, 4) },
        { title: score.search, value: (row) => row.score, text: (row) => (accurate ? percent(row.score) : figures(row.score, 4)) },
      ],
      fronts.flatMap(({ run, cost, front }) => front.map((each) => ({ run, cost: cost.value(each), score: each.score }))),
      { sorts: true, most: 500 },
    ),
    scores: fronts.flatMap(({ front }) => front.map(y)),
    plot: (axis) => ({
      data: fronts.map(({ run, cost, front }, place) => ({
        type: "scatter", mode: "lines+markers", name: run.label,
        x: front.map(cost.value), y: front.map((each) => axis.y(y(each))),
        text: front.map((each) => (accurate ? percent(each.score) : figures(each.score, 4))), hovertemplate: "%{text}, %{x:.4g}<extra>%{fullData.name}</extra>",
        line: { color: colour(place), shape: "hv" },
        marker: { color: colour(place), symbol: front.map((each) => (axis.below(y(each)) ? "triangle-down" : SYMBOLS[place % SYMBOLS.length])), size: 8 },
      })),
      layout: layout({ xaxis: { title: "latency (ms)" }, yaxis: { title: accurate ? `${score.search} (%)` : score.search, ...axis.range } }),
    }),
  });
}

function showPage() {
  const { runs, sweeps } = page;
  const parts = [
    ...sweeps.map((each) => ({ each, title: `Sweep ${each.label}`, content: sweepContent })),
    ...runs.map((each) => ({ each, title: runs.length + sweeps.length > 1 ? `Run ${each.label}` : "", content: runContent })),
  ];
  for (const part of parts) part.each.anchor = freshId("part");
  const names = parts.map((part) => part.each.label);
  document.getElementById("title").textContent = names.length === 1 ? names[0] : `${names.length} searches and sweeps`;
  document.getElementById("made").textContent = `Written ${page.made} by automl ${page.automl}`;
  const main = document.getElementById("content");
  if (runs.length > 1) main.append(comparison(runs));
  const alone = parts.length === 1;
  sections = alone ? 2 : 3;
  for (const part of parts) {
    if (alone) {
      main.append(make("article", { id: part.each.anchor }, part.content(part.each)));
      continue;
    }
    const body = later(make("h2", {}, part.title), () => make("article", {}, part.content(part.each)), { class: "part", id: part.each.anchor });
    main.append(body);
    const staged = part.each.line !== undefined && part.each.line.length > 0;
    body.open = staged || (runs.length <= 1 && sweeps.length === 1 && part === parts[0]);
  }
  if (alone) contents(main);
}

function contents(main) {
  const links = [...main.querySelectorAll("section > .section")].map((head) => make("li", {}, make("a", { href: `#${head.id}` }, head.textContent)));
  document.getElementById("contents").append(make("ul", {}, links));
}
