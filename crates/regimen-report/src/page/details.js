// All that the folder of one run holds besides its metrics.

function showDetails() {
  const run = view.chosen, section = document.getElementById("details");
  if (!run) { section.replaceChildren(); return; }
  const parts = [
    el("header", { colour: run.colour }, el("h2", {}, run.name), el("span", {}, run.state), el("span", { class: "note" }, run.folder)),
    ...run.damage.map(text => el("p", { class: "damage" }, text)),
    timeLine(run), flight(run), checkpoints(run), notices(run), profile(run), pictures(run),
    run.summary && titled("Module", el("pre", { tabindex: "0" }, run.summary)),
    environment(run),
  ];
  section.replaceChildren(...parts.filter(Boolean));
}

const titled = (title, ...content) => el("div", {}, el("h3", {}, title), ...content);

/** Starts, checkpoints, notices and errors along the steps of the run. */
function timeLine(run) {
  const last = Math.max(run.step, 1), at = step => `left:${(100 * Math.min(step / last, 1)).toFixed(3)}%`;
  const events = [
    ...run.environment.map(start => ({ step: start.step ?? 0, kind: "start", text: `start, ${start.time ?? ""}` })),
    ...run.checkpoints.map(saved => ({ step: saved.step, kind: "saved", text: `checkpoint ${saved.name}` })),
    ...run.notices.map(notice => ({ step: notice.step, kind: notice.is_error ? "error" : "told", text: `${notice.time} ${notice.text}` })),
  ];
  if (!events.length) return null;
  const line = el("div", { class: "line-of-time", role: "img", "aria-label": `${events.length} events from step 0 to ${run.step}; the tables below list them` });
  for (const { step, kind, text } of events) line.append(el("span", { class: kind, style: at(step), title: `step ${step}: ${text}` }));
  for (const part of [0, 0.25, 0.5, 0.75, 1]) line.append(el("em", { style: `left:${100 * part}%` }, count(Math.round(run.step * part))));
  return titled("Time line: starts (dashed), checkpoints (bars), notices (dots), errors (diamonds), by step", line);
}

function simpleTable(heads, rows, numbers, name) {
  const cell = (tag, value, n) => el(tag, { class: numbers.includes(n) ? "number" : null }, value);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, el("table", { class: name === "Notices" ? "log" : null },
    el("thead", {}, el("tr", {}, ...heads.map((head, n) => cell("th", head, n)))),
    el("tbody", {}, ...rows.map(row => el("tr", {}, ...row.map((value, n) => cell("td", value, n)))))));
}

function checkpoints(run) {
  if (!run.checkpoints.length) return null;
  const names = [...new Set(run.checkpoints.flatMap(saved => Object.keys(saved.metrics)))].sort();
  const rows = run.checkpoints.map(saved => [saved.name, String(saved.step), String(saved.epoch), ...names.map(name => short(saved.metrics[name])), size(saved.bytes), saved.resumable ? "" : "post-mortem"]);
  const heads = ["name", "step", "epoch", ...names, "size", ""];
  return titled("Checkpoints", simpleTable(heads, rows, heads.map((_, n) => n).slice(1, -1), "Checkpoints"));
}

function size(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let n = 0;
  while (value >= 1000 && n < units.length - 1) { value /= 1000; n++; }
  return `${Number(value.toPrecision(3))} ${units[n]}`;
}

function notices(run) {
  if (!run.notices.length) return null;
  const rows = run.notices.toReversed().map(notice => [notice.time.replace("T", " ").replace("Z", ""), String(notice.step), notice.text]);
  const older = run.older_notices ? `, without ${run.older_notices} older` : "";
  return titled(`Notices, reports and errors, newest first (UTC)${older}`, simpleTable(["time", "step", "text"], rows, [1], "Notices"));
}

function environment(run) {
  const newest = run.environment.at(-1);
  if (!newest) return null;
  const text = value => Array.isArray(value) ? value.join(" ") : value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
  const list = el("dl", {}, ...Object.entries(newest).filter(([, value]) => value !== null).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, text(value))]));
  const starts = run.environment.length > 1 ? ` of the newest of ${run.environment.length} starts` : "";
  return titled(`Environment${starts}`, list);
}

/** The tree of timers: each bar is the share of the whole. */
function profile(run) {
  const blocks = run.profile?.blocks;
  if (!Array.isArray(blocks) || !blocks.length) return null;
  const whole = run.profile.wall_seconds ?? blocks.reduce((sum, block) => sum + (block.seconds ?? 0), 0);
  const node = (block, depth) => {
    const bar = el("span", { class: "bar" });
    bar.style.setProperty("--share", `${Math.min(100, 100 * (block.seconds ?? 0) / whole)}%`);
    const row = [el("span", { class: "what", title: block.name ?? "" }, block.name ?? ""), bar, el("span", { class: "amount" }, `${duration(block.seconds ?? 0)}  ${(100 * (block.seconds ?? 0) / whole).toFixed(1)} %  ${count(block.count ?? 0)} x`)];
    const inner = Array.isArray(block.blocks) ? block.blocks : [];
    return inner.length ? el("details", { open: depth < 2 }, el("summary", {}, ...row), ...inner.map(block => node(block, depth + 1))) : el("div", { class: "leaf" }, ...row);
  };
  const facts = [run.profile.sentence, run.profile.flops_per_second && `${count(run.profile.flops_per_second)} FLOP/s`].filter(Boolean).join(" ");
  return titled("Times", facts ? el("p", { class: "note" }, facts) : null, el("div", { class: "tree" }, ...blocks.map(block => node(block, 0))));
}

/** The last steps before an error or a pause. */
function flight(run) {
  if (!run.flight) return null;
  const steps = Array.isArray(run.flight.steps) ? run.flight.steps : [];
  const metrics = [...new Set(steps.flatMap(step => Object.keys(step.metrics ?? {})))].sort();
  const others = [...new Set(steps.flatMap(step => Object.keys(step)))].filter(name => name !== "step" && name !== "metrics").sort();
  const text = value => value == null ? "" : typeof value === "string" ? value : Array.isArray(value) && value.length > 8 ? `${value.slice(0, 8).join(", ")}, ... (${value.length})` : JSON.stringify(value);
  const rows = steps.map(step => [text(step.step), ...metrics.map(name => short(step.metrics?.[name])), ...others.map(name => text(step[name]))]);
  return titled("The last steps before an error or a pause", el("p", { class: "damage" }, text(run.flight.reason)), rows.length ? simpleTable(["step", ...metrics, ...others], rows, metrics.map((_, n) => n + 1).concat(0), "Last steps") : null);
}

function pictures(run) {
  if (!run.pictures.length) return null;
  return titled("Pictures, the newest of each name", el("div", { class: "pictures" }, ...run.pictures.map(picture => el("figure", {}, el("img", { src: `data:image/png;base64,${picture.png}`, alt: picture.name }), el("figcaption", {}, `${picture.name}, step ${picture.step}`)))));
}
