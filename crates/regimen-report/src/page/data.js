// The runs of this page, and their numbers.

const runs = Array.from(document.querySelectorAll("script.run"), (script, index) => {
  const run = JSON.parse(script.textContent);
  return { ...run, index, on: true, colour: "", shown: true };
});

/** The bytes of a base64 text. */
function bytes(text) {
  const binary = atob(text), out = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) out[i] = binary.charCodeAt(i);
  return out.buffer;
}

const f64s = text => new Float64Array(bytes(text));

/** The numbers of a curve; decoded when they are first needed. */
function decoded(curve) {
  if (curve.rows) return curve.rows;
  const steps = f64s(curve.steps), n = steps.length;
  const all = new (curve.type === "f32" ? Float32Array : Float64Array)(bytes(curve.values));
  const row = i => all.length === n ? all : all.subarray(i * n, i * n + n);
  curve.rows = { n, steps, single: all.length === n, first: row(0), min: row(1), max: row(2), last: row(3), mean: row(4), gaps: new Map(curve.gaps.map(([at, nan, infinite]) => [at, { nan, infinite }])), xs: {} };
  curve.steps = curve.values = null;
  return curve.rows;
}

const axes = {
  steps: { name: "steps", format: count },
  epochs: { name: "epochs", format: value => short(value) },
  samples: { name: "samples", format: count },
  seconds: { name: "time", format: duration },
};

/** The steps and counts of the marks of a run along an axis, from the step 0. */
function marks(run, axis) {
  run.marks ??= {};
  if (!run.marks[axis]) {
    const { steps, at } = run.axes[axis], s = f64s(steps), a = f64s(at);
    run.marks[axis] = s.length && s[0] > 0 ? { steps: [0, ...s], at: [0, ...a] } : { steps: Array.from(s), at: Array.from(a) };
  }
  return run.marks[axis];
}

/** Whether the places of a run along an axis are known. */
const hasAxis = (run, axis) => axis === "steps" || marks(run, axis).steps.length > 1;

/** The place of a step along an axis: between two marks it grows evenly, and behind the last one at the last rate. */
function place(run, axis, step) {
  if (axis === "steps") return step;
  const { steps, at } = marks(run, axis);
  let i = Math.min(upper(steps, step), steps.length - 1);
  i = Math.max(i, 1);
  return at[i - 1] + (step - steps[i - 1]) * (at[i] - at[i - 1]) / (steps[i] - steps[i - 1]);
}

/** The places of a curve's points along an axis. */
function places(run, curve, axis) {
  const rows = decoded(curve);
  if (axis === "steps") return rows.steps;
  return rows.xs[axis] ??= Float64Array.from(rows.steps, step => place(run, axis, step));
}

/** The number of elements that are not above `value`. */
function upper(sorted, value) {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1; else high = middle;
  }
  return low;
}

/** Exponential moving average of the means, corrected for its start. Points without a finite value are passed over. */
function smooth(means, weight) {
  const out = new Float64Array(means.length);
  let sum = 0, total = 0;
  for (let i = 0; i < means.length; i++) {
    if (!Number.isFinite(means[i])) { out[i] = NaN; continue; }
    sum = sum * weight + means[i] * (1 - weight);
    total = total * weight + (1 - weight);
    out[i] = sum / total;
  }
  return out;
}

/** A number with four significant digits. */
function short(value) {
  if (value == null) return "";
  value = Number(value === "inf" ? Infinity : value === "-inf" ? -Infinity : value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value < 0 ? "-inf" : "inf";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** A count: thousands as k, millions as M. */
function count(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return Number((value / 1e9).toPrecision(4)) + "G";
  if (size >= 1e6) return Number((value / 1e6).toPrecision(4)) + "M";
  if (size >= 1e4) return Number((value / 1e3).toPrecision(4)) + "k";
  return String(Number(value.toPrecision(5)));
}

/** Hours, minutes and seconds. */
function duration(seconds) {
  if (seconds == null) return "";
  if (seconds < 10) return short(seconds) + " s";
  const whole = Math.round(seconds), two = n => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** An element with attributes and children. Texts of runs are never read as HTML. */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value == null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key === "colour") element.style.setProperty("--colour", value);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter(child => child != null));
  return element;
}
