// The table of runs: hyper-parameters that differ first, and a row per run.

const sorting = { column: 0, down: false };

function columns() {
  const all = [
    { name: "run", value: run => run.name },
    { name: "state", value: run => run.state },
  ];
  for (const name of differing()) {
    all.push({ name, differs: true, value: run => run.hyper_parameters[name], text: value => typeof value === "string" ? value : value === undefined ? "" : typeof value === "number" ? String(Number(value.toPrecision(6))) : JSON.stringify(value) });
  }
  for (const { name, curve } of tableMetrics()) {
    const of = edge => run => number(curve(run)?.[edge]?.[1]);
    all.push({ name, number: true, value: of("last"), text: short });
    // Only of a loss is it known which value is the best.
    all.push({ name: "min", title: `smallest ${name}`, number: true, isBest: /loss/.test(name) && Math.min, value: of("min"), text: short });
    all.push({ name: "max", title: `largest ${name}`, number: true, value: of("max"), text: short });
  }
  all.push({ name: "step", number: true, value: run => run.step, text: value => value.toLocaleString("en") });
  if (runs.some(run => run.epoch != null)) all.push({ name: "epoch", number: true, value: run => run.epoch ?? undefined, text: String });
  if (runs.some(run => run.seconds != null)) all.push({ name: "time", number: true, value: run => run.seconds ?? undefined, text: duration });
  return all;
}

const number = value => value == null ? undefined : Number(value === "inf" ? Infinity : value === "-inf" ? -Infinity : value);

/** The curve of a metric in training, else in evaluation, else in prediction. Of one phase, that over epochs is before that of steps. */
function curveOf(run, name) {
  const phases = ["train", "eval", "predict"], phase = curve => (phases.indexOf(curve.phase) + phases.length + 1) % (phases.length + 1);
  return run.curves.filter(curve => curve.name === name).sort((a, b) => phase(a) - phase(b) || b.per_epoch - a.per_epoch)[0];
}

/** The metrics of the table: at most four, losses and measures of an evaluation first. */
function tableMetrics() {
  const names = new Set(runs.flatMap(run => run.curves.map(curve => curve.name)));
  const order = name => (name.startsWith("eval/") ? 0 : 1) + (/loss/.test(name) ? 0 : 2);
  const chosen = [...names].filter(name => { const base = name.replace(/^(train|eval|predict)\//, ""); return rank(base) <= 1; });
  return chosen.sort((a, b) => order(a) - order(b) || (a < b ? -1 : 1)).slice(0, 4)
    .map(name => ({ name, curve: run => curveOf(run, name) }));
}

function showTable() {
  const all = columns(), column = all[Math.min(sorting.column, all.length - 1)];
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  const missing = value => value === undefined || Number.isNaN(value);
  const order = runs.map(run => [run, column.value(run)]).sort(([a, x], [b, y]) => missing(x) - missing(y) || (missing(x) ? 0 : compare(x, y) * (sorting.down ? -1 : 1)) || a.index - b.index);
  const bests = all.map(column => column.isBest ? column.isBest(...runs.map(column.value).filter(Number.isFinite)) : undefined);
  const heads = all.map((column, n) => el("th", { scope: "col", class: [column.number && "number", column.differs && "differs"].filter(Boolean).join(" ") || null, "aria-sort": n === sorting.column ? (sorting.down ? "descending" : "ascending") : null },
    el("button", { type: "button", title: column.title ?? null, "data-column": n, onclick: () => {
      sorting.down = n === sorting.column && !sorting.down;
      sorting.column = n;
      showTable();
      document.querySelector(`#compare [data-column="${n}"]`).focus();
    } }, column.name)));
  const rows = order.map(([run]) => el("tr", { class: run === view.chosen ? "chosen" : null, "data-run": run.index, onmouseenter: () => hover(run), onmouseleave: () => hover(null) },
    ...all.map((column, n) => {
      const value = column.value(run), isNumber = column.number || typeof value === "number";
      const best = column.isBest && runs.length > 1 && value === bests[n];
      if (n === 0) return el("td", {}, el("span", { class: "line", colour: run.colour }), el("button", { type: "button", class: "link", onclick: () => choose(run, true) }, run.name));
      return el("td", { class: [isNumber && "number", best && "best"].filter(Boolean).join(" ") || null }, value === undefined ? "" : column.text ? column.text(value) : String(value));
    })));
  const table = el("table", {}, el("caption", { class: "skip" }, "Runs and their hyper-parameters"), el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  document.querySelector("#compare .scroll").replaceChildren(table);
  const differ = new Set(differing()), same = Object.keys(runs[0]?.hyper_parameters ?? {}).filter(name => !differ.has(name)).sort();
  const text = value => typeof value === "string" ? value : JSON.stringify(value);
  document.getElementById("same").textContent = same.length ? `${runs.length > 1 ? "The same in all: " : ""}${same.map(name => `${name} ${text(runs[0].hyper_parameters[name])}`).join(", ")}` : "";
}
