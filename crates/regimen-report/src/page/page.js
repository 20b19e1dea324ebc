// The controls, the list of runs, and what happens when they change.

const $ = id => document.getElementById(id);
const charts = [];
const built = new Set();
let colouring = null;

/** All charts again, from nothing: another theme, axis or size. */
function rebuild() { built.forEach(chart => chart.build()); }

/** All charts again: other runs, range or smoothing. At most once per frame. */
let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; built.forEach(chart => chart.redraw()); });
}

function setRange(range) {
  if (range && !(range[0] < range[1] && (!view.logX || range[0] > 0))) return;
  view.range = range;
  $("zoom").hidden = !range;
  if (range) {
    const format = axes[view.axis].format;
    $("zoom").textContent = `${axes[view.axis].name} ${format(range[0])} to ${format(range[1])} \u00d7`;
    $("zoom").setAttribute("aria-label", `The whole range instead of ${axes[view.axis].name} ${format(range[0])} to ${format(range[1])}`);
  }
  redraw();
}

function setAxis(axis) {
  view.axis = axis;
  view.range = null;
  $("zoom").hidden = true;
  document.querySelector(`#axis input[value="${axis}"]`).checked = true;
  rebuild();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "light" : "dark";
  $("theme").setAttribute("aria-label", `Use the ${theme === "dark" ? "light" : "dark"} theme`);
  paint(colouring);
  showRuns();
  showTable();
  showDetails();
  rebuild();
}

function setSmoothing(value) {
  view.smoothing = Math.min(Math.max(value, 0), 0.99);
  $("smoothing").value = view.smoothing;
  $("smoothing-value").textContent = String(Number(view.smoothing.toFixed(2)));
  redraw();
}

function setLog(which, on) {
  view[which] = on;
  $(which === "logX" ? "log-x" : "log-y").checked = on;
  if (which === "logX") setRange(null);
  rebuild();
}

/** Brings a run to the front, for as long as it is pointed at. */
function hover(run) {
  if (view.hovered === run) return;
  view.hovered = run;
  for (const item of $("runs").children) item.classList.toggle("hovered", Number(item.dataset.run) === run?.index);
  redraw();
}

/** Shows the details of a run. */
function choose(run, scroll) {
  view.chosen = run;
  showDetails();
  for (const item of document.querySelectorAll("#runs li, #compare tr[data-run]")) item.classList.toggle("chosen", Number(item.dataset.run) === run?.index);
  if (scroll) $("details").scrollIntoView({ block: "start" });
  redraw();
}

function toggle(run, on = !run.on) {
  run.on = on;
  const item = document.querySelector(`#runs li[data-run="${run.index}"]`);
  item?.classList.toggle("off", !run.on);
  item?.querySelector(".swatch").setAttribute("aria-pressed", String(run.on));
  redraw();
}

const only = run => runs.forEach(other => toggle(other, other === run));

function showRuns() {
  const wanted = $("filter").value.toLowerCase();
  const main = tableMetrics()[0];
  const items = runs.filter(run => run.name.toLowerCase().includes(wanted)).map(run => el("li", { class: [run.state, run.on ? "" : "off", run === view.chosen ? "chosen" : ""].filter(Boolean).join(" "), "data-run": run.index, onmouseenter: () => hover(run), onmouseleave: () => hover(null) },
    el("button", { type: "button", class: "swatch", colour: run.colour, "aria-pressed": String(run.on), "aria-label": `Show ${run.name}`, title: "show or hide; with Alt only this run", onclick: event => event.altKey ? only(run) : toggle(run) }),
    el("button", { type: "button", class: "name", title: run.folder, onclick: () => choose(run, false) }, run.name),
    el("span", { class: "value", title: main ? `last ${main.name}` : null }, main ? short(main.curve(run)?.last?.[1]) : "")));
  $("runs").replaceChildren(...items);
}

/** The runs in the order of the list, as the filter leaves them. */
const listed = () => Array.from($("runs").children, item => runs[Number(item.dataset.run)]);

function step(by) {
  const list = listed(), at = list.indexOf(view.chosen);
  const run = list[(at + by + list.length) % list.length];
  if (!run) return;
  choose(run, false);
  document.querySelector(`#runs li[data-run="${run.index}"]`)?.scrollIntoView({ block: "nearest" });
}

function cycleAxis() {
  const inputs = [...document.querySelectorAll("#axis input:not(:disabled)")];
  const at = inputs.findIndex(input => input.checked);
  setAxis(inputs[(at + 1) % inputs.length].value);
}

const keys = {
  x: cycleAxis,
  l: () => setLog("logY", !view.logY),
  L: () => setLog("logX", !view.logX),
  s: () => setSmoothing(view.smoothing < 0.9 ? view.smoothing + 0.1 : view.smoothing + 0.01),
  S: () => setSmoothing(view.smoothing - 0.1),
  r: () => setRange(null),
  j: () => step(1),
  k: () => step(-1),
  v: () => view.chosen && toggle(view.chosen),
  o: () => view.chosen && only(view.chosen),
  a: () => runs.forEach(run => toggle(run, true)),
  t: () => setTheme(isDark() ? "light" : "dark"),
  "/": () => $("filter").focus(),
  "?": () => $("keys").showModal(),
};

document.addEventListener("keydown", event => {
  const typing = event.target.matches("input[type=search], select");
  if (event.key === "Escape" && typing) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const action = keys[event.key];
  if (action) { event.preventDefault(); action(); }
});

function start() {
  const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
  document.title = runs.length === 1 ? runs[0].name : plural(runs.length, "run");
  $("title").textContent = document.title;

  for (const [axis, { name }] of Object.entries(axes)) {
    const lacks = runs.filter(run => !hasAxis(run, axis)).length;
    $("axis").append(el("label", { title: lacks ? `${plural(lacks, "run")} without ${name}` : null },
      el("input", { type: "radio", name: "axis", value: axis, disabled: lacks === runs.length, checked: axis === "steps", onchange: () => setAxis(axis) }), name));
  }
  const all = colourings();
  $("colours").append(...all.map(({ name }, n) => el("option", { value: n }, name)));
  $("colours").parentElement.hidden = all.length < 2;
  $("colours").addEventListener("change", event => { colouring = all[event.target.value].of; paint(colouring); showRuns(); showTable(); showDetails(); redraw(); });
  $("smoothing").addEventListener("input", event => setSmoothing(Number(event.target.value)));
  $("log-x").addEventListener("change", event => setLog("logX", event.target.checked));
  $("log-y").addEventListener("change", event => setLog("logY", event.target.checked));
  $("zoom").addEventListener("click", () => setRange(null));
  $("theme").addEventListener("click", keys.t);
  $("help").addEventListener("click", keys["?"]);
  $("all").addEventListener("click", () => { const some = runs.some(run => !run.on); runs.forEach(run => toggle(run, some)); });
  $("filter").addEventListener("input", showRuns);

  // Charts are made when they come near the window.
  const seen = new IntersectionObserver(entries => entries.forEach(({ isIntersecting, target }) => {
    const chart = charts.find(chart => chart.element === target);
    if (isIntersecting && !built.has(chart)) { built.add(chart); chart.build(); }
  }), { rootMargin: "400px" });
  for (const [name, group] of chartGroups()) {
    const grid = el("div", { class: "grid" }, ...group.map(chart => chart.element));
    const closed = rank(group[0].name) === 4 && group.length > 6;
    $("charts").append(el("details", { class: "group", open: !closed }, el("summary", {}, name, el("small", {}, group.length > 1 ? String(group.length) : "")), grid));
    charts.push(...group);
  }
  charts.forEach(chart => seen.observe(chart.element));
  if (!charts.length) $("charts").append(el("p", { class: "note" }, runs.length === 1 ? "The run has no metric yet." : "No run has a metric yet."));

  const strides = runs.flatMap(run => run.curves.map(curve => curve.stride));
  const most = Math.max(1, ...strides);
  $("points").textContent = most > 1
    ? `Each point stands for up to ${most.toLocaleString("en")} values, and is drawn from the first by the smallest and the largest to the last: no spike is lost. Smoothing averages their means. A cross at the top of a chart marks values that are NaN or infinite.`
    : "Each value is drawn. A cross at the top of a chart marks values that are NaN or infinite.";

  view.chosen = runs[0] ?? null;
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

  let width = innerWidth, timer;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(rebuild, 100);
  });
  // On paper: light, and every chart.
  let before = null;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    charts.filter(chart => chart.element.offsetParent).forEach(chart => built.add(chart));
    setTheme("light");
  });
  addEventListener("afterprint", () => setTheme(before ?? "light"));
}

start();
