// Colours that all kinds of eyes tell apart: eight for few runs, a ramp from dark to light for many.

const palette = {
  light: ["#0072b2", "#d55e00", "#009e73", "#b0528c", "#3ba3d8", "#b98500", "#4a4a4a", "#8a632f"],
  dark: ["#56a8e6", "#ff8a3c", "#3fcf9f", "#e48cc4", "#a3d9ff", "#f0c543", "#c4c8cd", "#c9a06a"],
};

/** Blue to amber. Lightness grows all the way, so the order is seen without the hue. */
function ramp(part, theme) {
  const [low, high] = theme === "dark" ? [0.56, 0.9] : [0.34, 0.76];
  const lightness = low + (high - low) * part, chroma = 0.04 + 0.1 * Math.abs(part - 0.45) * 2;
  return `oklch(${lightness.toFixed(3)} ${chroma.toFixed(3)} ${part < 0.45 ? 258 : 78})`;
}

const isDark = () => document.documentElement.dataset.theme === "dark";

/** The numbers by which runs can be coloured: hyper-parameters that differ, and the best values of metrics. */
function colourings() {
  const all = [{ name: "by run", of: null }];
  for (const name of differing()) {
    const of = run => typeof run.hyper_parameters[name] === "number" ? run.hyper_parameters[name] : NaN;
    if (runs.some(run => Number.isFinite(of(run)))) all.push({ name: `by ${name}`, of });
  }
  return all;
}

/** Gives each run its colour. With equal distances in rank: one outlier leaves the others apart. */
function paint(of) {
  const theme = isDark() ? "dark" : "light";
  if (!of && runs.length <= palette[theme].length) {
    runs.forEach((run, i) => { run.colour = palette[theme][i]; });
    return;
  }
  const value = of ?? (run => run.index);
  const known = [...new Set(runs.map(value).filter(Number.isFinite))].sort((a, b) => a - b);
  for (const run of runs) {
    const rank = known.indexOf(value(run));
    run.colour = rank < 0 ? "var(--soft)" : ramp(known.length > 1 ? rank / (known.length - 1) : 0.5, theme);
  }
  for (const run of runs.filter(run => run.colour.startsWith("var"))) run.colour = theme === "dark" ? "#8f99a5" : "#5c636b";
}

/** Names of hyper-parameters that are not the same in all runs. */
function differing() {
  const names = new Set(runs.flatMap(run => Object.keys(run.hyper_parameters)));
  const text = (run, name) => JSON.stringify(run.hyper_parameters[name]);
  return [...names].sort().filter(name => runs.some(run => text(run, name) !== text(runs[0], name)));
}
