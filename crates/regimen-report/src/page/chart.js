// A chart per metric. uPlot draws axes, grid and cursor; the curves are drawn here, each from its own points.

/** What all charts share. */
const view = { axis: "steps", smoothing: 0, logX: false, logY: false, range: null, hovered: null, chosen: null };

const MOST_RAW = 12; // With more runs, the points below a smoothed line are left out.
const FEW = 60; // Curves of at most as many points, such as those over epochs, have them marked and are not smoothed.
const dashes = { train: [], eval: [6, 4], predict: [2, 3] };

class Chart {
  /** `parts` are the curves of one name: per phase, of steps or over epochs. */
  constructor(name, parts) {
    this.name = name;
    this.parts = parts;
    this.read = el("div", { class: "read" });
    this.plot = el("div", { class: "plot" });
    const buttons = parts.map(part => el("button", {
      type: "button", "aria-pressed": String(part.on), title: part.title,
      onclick: event => {
        part.on = !part.on;
        event.currentTarget.setAttribute("aria-pressed", String(part.on));
        this.redraw();
      },
    }, dashSample(part), part.label));
    this.element = el("article", { class: "chart", tabindex: "0", role: "group", "aria-label": `Chart of ${name}`, "data-chart": name, onkeydown: event => this.key(event), ondblclick: () => setRange(null) },
      el("div", { class: "head" }, el("h4", { title: name }, name), el("div", { class: "parts" }, ...buttons)), this.read, this.plot);
  }

  /** The curves that are drawn: the chosen run is the last, over the others. */
  lines() {
    const lines = [];
    for (const part of this.parts.filter(part => part.on)) {
      for (const [run, curve] of part.curves) if (run.on && hasAxis(run, view.axis)) lines.push({ run, curve, part });
    }
    const front = view.hovered ?? view.chosen;
    return lines.sort((a, b) => (a.run === front) - (b.run === front));
  }

  /** The smallest and largest place of all points. */
  extent() {
    let low = Infinity, high = -Infinity;
    for (const { run, curve } of this.lines()) {
      const xs = places(run, curve, view.axis);
      if (!xs.length) continue;
      let first = xs[0];
      if (view.logX) first = xs.find(x => x > 0) ?? Infinity;
      low = Math.min(low, first);
      high = Math.max(high, place(run, view.axis, curve.end));
    }
    return low <= high ? [low, high] : [view.logX ? 1 : 0, view.logX ? 10 : 1];
  }

  rangeX() {
    const [low, high] = view.range ?? this.extent();
    return low < high ? [low, high] : view.logX ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
  }

  rangeY([left, right]) {
    let low = Infinity, high = -Infinity;
    for (const { run, curve } of this.lines()) {
      const rows = decoded(curve), xs = places(run, curve, view.axis);
      for (let i = Math.max(upper(xs, left) - 1, 0); i < rows.n && xs[i] <= right; i++) {
        for (const value of [rows.min[i], rows.max[i]]) {
          if (Number.isFinite(value) && !(view.logY && value <= 0)) { low = Math.min(low, value); high = Math.max(high, value); }
        }
      }
    }
    if (!(low <= high)) return view.logY ? [0.1, 10] : [0, 1];
    if (view.logY) return low < high ? [low / (high / low) ** 0.05, high * (high / low) ** 0.05] : [low / 2, high * 2];
    if (low === high) { const room = low === 0 ? 1 : Math.abs(low) / 10; return [low - room, high + room]; }
    const room = (high - low) * 0.05;
    return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
  }

  /** Makes the chart anew: for another size, theme or kind of axis. */
  build() {
    this.made?.destroy();
    const box = this.plot.getBoundingClientRect();
    if (!box.width) return;
    const style = getComputedStyle(document.documentElement), of = name => style.getPropertyValue(name).trim();
    const font = `11px ${of("--sans")}`;
    const axis = { stroke: of("--soft"), font, grid: { stroke: of("--grid"), width: 1 }, ticks: { stroke: of("--rule"), width: 1, size: 4 } };
    const x = this.rangeX(), y = this.rangeY(x);
    const log = (u, splits) => splits.map(value => /^[125]/.test(value.toExponential()) ? value : null);
    this.now = { x, y };
    this.idle();
    this.made = new uPlot({
      width: Math.floor(box.width), height: Math.floor(box.height),
      padding: [8, 22, 0, 0],
      legend: { show: false },
      scales: { x: { time: false, auto: false, distr: view.logX ? 3 : 1, range: () => this.now.x }, y: { auto: false, distr: view.logY ? 3 : 1, range: () => this.now.y } },
      axes: [
        { ...axis, size: 26, space: 70, filter: view.logX ? log : undefined, values: (u, values) => values.map(value => value == null ? "" : axes[view.axis].format(value)), incrs: view.axis === "seconds" ? [1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800] : undefined },
        { ...axis, size: 52, space: 30, filter: view.logY ? log : undefined, values: (u, values) => values.map(value => value == null ? "" : short(value)) },
      ],
      series: [{}, { paths: () => null, points: { show: false } }],
      cursor: { points: { show: false }, y: false, drag: { x: true, y: false, setScale: false }, sync: { key: "runs", setSeries: false, scales: ["x", null] }, dataIdx: () => 0, bind: { dblclick: () => null } },
      hooks: {
        draw: [u => this.draw(u)],
        setCursor: [u => this.point(u)],
        setSelect: [u => {
          const { left, width } = u.select;
          if (width < 4) return;
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          setRange([u.posToVal(left, "x"), u.posToVal(left + width, "x")]);
        }],
      },
    }, [x, y], this.plot);
  }

  /** Draws again, for other runs, another range or another smoothing. */
  redraw() {
    if (!this.made) return;
    const x = this.rangeX(), y = this.rangeY(x);
    this.now = { x, y };
    this.made.batch(() => {
      this.made.setScale("x", { min: x[0], max: x[1] });
      this.made.setScale("y", { min: y[0], max: y[1] });
    });
    this.made.redraw(false, false);
  }

  draw(u) {
    const { ctx, bbox } = u, ratio = devicePixelRatio || 1, { x: [x0, x1], y: [y0, y1] } = this.now;
    const scale = (low, high, from, size, log) => {
      if (log) { low = Math.log(low); high = Math.log(high); }
      const factor = size / (high - low);
      return log ? value => value > 0 ? from + (Math.log(value) - low) * factor : NaN : value => from + (value - low) * factor;
    };
    const fx = scale(x0, x1, bbox.left, bbox.width, view.logX);
    const up = scale(y0, y1, 0, bbox.height, view.logY), fy = value => bbox.top + bbox.height - up(value);
    const lines = this.lines(), shown = new Set(lines.map(line => line.run)).size;
    const front = view.hovered ?? (shown > MOST_RAW ? null : view.chosen);
    const dims = view.hovered != null && shown > 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineJoin = "round";
    const marks = [];
    for (const { run, curve, part } of lines) {
      const isFront = run === front, faint = dims && !isFront ? 0.22 : shown > MOST_RAW && !isFront ? 0.75 : 1;
      const width = (isFront && shown > 1 ? 2.2 : shown > MOST_RAW ? 1 : 1.5) * ratio;
      const paths = this.paths(run, curve, fx, fy, [x0, x1], ratio);
      ctx.strokeStyle = ctx.fillStyle = run.colour;
      ctx.setLineDash(dashes[part.phase]?.map(length => length * ratio) ?? []);
      if (paths.smooth) {
        if (shown <= MOST_RAW || isFront) { ctx.globalAlpha = 0.2 * faint; ctx.lineWidth = ratio; ctx.stroke(paths.raw); }
        ctx.globalAlpha = faint;
        ctx.lineWidth = width;
        ctx.stroke(paths.smooth);
      } else {
        ctx.globalAlpha = faint * (decoded(curve).single ? 1 : 0.85);
        ctx.lineWidth = decoded(curve).single ? width : Math.min(width, 1.2 * ratio);
        ctx.stroke(paths.raw);
      }
      ctx.setLineDash([]);
      if (shown <= MOST_RAW || isFront) ctx.fill(paths.dots);
      for (const at of paths.gaps) marks.push([at, run.colour]);
    }
    // A cross at the top for each place with values that are not finite.
    ctx.globalAlpha = 1;
    ctx.lineWidth = 1.5 * ratio;
    for (const [at, colour] of marks) {
      const size = 3 * ratio, top = bbox.top + size + ratio;
      ctx.strokeStyle = colour;
      ctx.beginPath();
      ctx.moveTo(at - size, top - size); ctx.lineTo(at + size, top + size);
      ctx.moveTo(at + size, top - size); ctx.lineTo(at - size, top + size);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** The lines of a curve. A bucket is drawn from its first value by the smallest and the largest to the last. */
  paths(run, curve, fx, fy, [left, right], ratio) {
    const rows = decoded(curve), xs = places(run, curve, view.axis);
    const raw = new Path2D(), dots = new Path2D(), gaps = [];
    const weight = Math.min(view.smoothing, 0.99), smoothed = weight > 0 && rows.n > FEW ? smooth(rows.mean.length ? rows.mean : rows.first, weight) : null;
    const line = smoothed ? new Path2D() : null;
    const from = Math.max(upper(xs, left) - 2, 0), few = rows.n <= FEW;
    const dot = ([x, y]) => { dots.moveTo(x, y); dots.arc(x, y, (few ? 2.2 : 1.5) * ratio, 0, 7); };
    let piece = [], openSmooth = false;
    const end = () => { if (piece.length === 1 && !few) dot(piece[0]); piece = []; };
    const add = (x, y) => {
      // A value that has no place, such as one below 0 on a logarithmic axis, hides no other.
      if (!Number.isFinite(x) || !Number.isFinite(y)) { end(); return; }
      if (piece.length) raw.lineTo(x, y); else raw.moveTo(x, y);
      piece.push([x, y]);
    };
    for (let i = from; i < rows.n && (i === from || xs[i - 1] <= right); i++) {
      const x = fx(xs[i]), first = fy(rows.first[i]);
      if (rows.gaps.has(i) && Number.isFinite(x)) gaps.push(x);
      add(x, first);
      if (few && Number.isFinite(x) && Number.isFinite(first)) dot([x, first]);
      if (!rows.single) {
        const next = fx(i + 1 < rows.n ? xs[i + 1] : place(run, view.axis, curve.end)), middle = Number.isFinite(x) ? (x + next) / 2 : next;
        for (const value of [rows.min[i], rows.max[i], rows.last[i]]) add(middle, fy(value));
      }
      if (line) {
        const y = fy(smoothed[i]);
        if (!Number.isFinite(x) || !Number.isFinite(y)) openSmooth = false;
        else if (openSmooth) line.lineTo(x, y);
        else { line.moveTo(x, y); openSmooth = true; }
      }
    }
    end();
    return { raw, smooth: line, dots, gaps };
  }

  /** Shows the values at the cursor: of the nearest run, or of the one that is pointed at elsewhere. */
  point(u) {
    const { left, top } = u.cursor, isHere = this.element.matches(":hover, :focus");
    if (left == null || left < 0) {
      this.idle();
      if (isHere) hover(null);
      return;
    }
    const x = u.posToVal(left, "x");
    let best = null;
    for (const line of this.lines()) {
      const rows = decoded(line.curve), xs = places(line.run, line.curve, view.axis);
      if (!xs.length || x < xs[0] || place(line.run, view.axis, line.curve.end) < x && xs.length > 1 && x > xs[xs.length - 1] + (xs[xs.length - 1] - xs[xs.length - 2])) continue;
      let i = Math.max(upper(xs, x) - 1, 0);
      if (rows.single && i + 1 < rows.n && xs[i + 1] - x < x - xs[i]) i++;
      const value = rows.single ? rows.first[i] : rows.mean[i];
      const y = u.valToPos(value, "y"), distance = Number.isFinite(y) && top >= 0 ? Math.abs(y - top) : 1e9;
      const rank = isHere ? distance : (line.run === (view.hovered ?? view.chosen) ? 0 : 1e9);
      if (!best || rank < best.rank) best = { ...line, i, value, rank };
    }
    if (!best) { this.idle(); return; }
    if (isHere && top >= 0) hover(runs.length > 1 ? best.run : null);
    this.read.replaceChildren(...this.reading(best));
  }

  /** Without a cursor: how many values a point stands for. */
  idle() {
    const most = Math.max(1, ...this.lines().map(({ curve }) => curve.stride));
    this.read.textContent = most > 1 ? `each point stands for ${most} values` : "";
  }

  reading({ run, curve, part, i, value }) {
    const rows = decoded(curve), at = places(run, curve, view.axis)[i], gap = rows.gaps.get(i);
    const mark = el("i");
    mark.style.background = run.colour;
    const parts = [mark, `${run.name} ${this.parts.length > 1 ? part.label + " " : ""}`, el("b", {}, short(value)), `  at ${axes[view.axis].format(at)}`];
    if (!rows.single) parts.push(`  ${short(rows.min[i])} to ${short(rows.max[i])} in ${curve.stride} values`);
    if (gap) parts.push(`  ${[gap.nan && `${gap.nan} NaN`, gap.infinite && `${gap.infinite} inf`].filter(Boolean).join(", ")}`);
    return parts;
  }

  key(event) {
    const u = this.made;
    if (!u || event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const width = u.over.clientWidth, left = u.cursor.left >= 0 ? u.cursor.left : width / 2;
    const [x0, x1] = this.now.x, step = event.key === "ArrowLeft" ? -1 : 1;
    const to = position => u.posToVal(position, "x");
    switch (event.key) {
      case "ArrowLeft": case "ArrowRight":
        if (event.shiftKey) setRange([to(step * width / 4), to(width + step * width / 4)]);
        else u.setCursor({ left: Math.min(Math.max(left + step * Math.max(width / 100, 2), 0), width), top: u.cursor.top >= 0 ? u.cursor.top : u.over.clientHeight / 2 });
        break;
      case "+": case "=": setRange([to(left / 2), to(left + (width - left) / 2)]); break;
      case "-": { const range = [to(-left), to(width + (width - left))], all = this.extent(); setRange(range[0] <= all[0] && range[1] >= all[1] ? null : range); break; }
      case "Enter": this.element.classList.toggle("wide"); this.build(); break;
      case "Escape": u.setCursor({ left: -10, top: -10 }); break;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

/** A piece of the line of a part. */
function dashSample(part) {
  const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg"), line = document.createElementNS(ns, "line");
  svg.setAttribute("viewBox", "0 0 18 6");
  svg.setAttribute("aria-hidden", "true");
  for (const [key, value] of Object.entries({ x1: 0, x2: 18, y1: 3, y2: 3, stroke: "currentColor", "stroke-width": 1.5, "stroke-dasharray": (dashes[part.phase] ?? []).join(" ") })) line.setAttribute(key, value);
  svg.append(line);
  return svg;
}

/** The charts in their groups. Metrics whose names differ only in their phase share one. */
function chartGroups() {
  const charts = new Map();
  for (const run of runs) for (const curve of run.curves) {
    const prefix = /^(train|eval|predict)\//.exec(curve.name);
    const name = prefix ? curve.name.slice(prefix[0].length) : curve.name;
    const key = `${curve.name}\n${curve.phase}\n${curve.per_epoch}`;
    if (!charts.has(name)) charts.set(name, new Map());
    const parts = charts.get(name);
    if (!parts.has(key)) parts.set(key, { name: curve.name, phase: curve.phase, perEpoch: curve.per_epoch, curves: [] });
    parts.get(key).curves.push([run, curve]);
  }
  const groups = new Map();
  for (const [name, parts] of [...charts].sort((a, b) => rank(a[0]) - rank(b[0]) || (a[0] < b[0] ? -1 : 1))) {
    const all = [...parts.values()].sort((a, b) => Object.keys(dashes).indexOf(a.phase) - Object.keys(dashes).indexOf(b.phase) || a.perEpoch - b.perEpoch);
    for (const part of all) {
      const twin = all.some(other => other !== part && other.name === part.name && other.phase === part.phase);
      part.label = part.phase + (twin && part.perEpoch ? " per epoch" : "");
      part.title = `${part.name}, ${part.perEpoch ? "over epochs" : "of steps"}: show or hide`;
      part.on = !(twin && part.perEpoch);
    }
    const group = groupOf(name);
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(new Chart(name, all));
  }
  return groups;
}

/** The metrics of a unit and of the usual monitors are one group. Others have that of their first part, such as `system`. */
function groupOf(name) {
  return !name.includes("/") || /^(learning_rate|momentum)/.test(name) ? "metrics" : name.split("/")[0];
}

/** Losses first, then what measures quality, rates and speeds, and then the rest. */
function rank(name) {
  if (/loss/.test(name)) return 0;
  if (groupOf(name) !== "metrics") return 4;
  return /per_second|seconds$|ratio$/.test(name) ? 3 : /^(learning_rate|momentum)|norm$/.test(name) ? 2 : 1;
}
