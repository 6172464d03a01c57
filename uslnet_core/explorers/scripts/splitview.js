// The split of one map as it is shown: regions on the picture, the labels, a sentence, a table, and the rules' sliders.
import { canvas, choice, LABELS, make, onRim, paint, percent, slider } from "./kit.js";
import { split } from "./uncertainty.js";

const WHITE = [255, 255, 255, 255];
const YELLOW = [...LABELS[2], 255];
const NOTHING = [0, 0, 0, 0];
const MOST_ROWS = 6;

/** `start`: {low, high, minArea, neighbours, rule, exclusion}; `again()` is called when a rule has changed. */
export function splitView(height, width, start, again) {
  const rules = { ...start };
  const marks = canvas(width, height, "Outlines of the regions on the image", { class: "usl-over" });
  const labels = canvas(width, height, "The split: blue background, grey uncertain, yellow foreground");
  const verdict = make("p", { class: "usl-told", "aria-live": "polite" });
  const rows = make("tbody");

  const set = (name, value) => {
    rules[name] = value;
    again();
  };
  const low = slider("low threshold: below it is background", { min: 0, max: 0.99, step: 0.01, value: rules.low }, (value) => {
    if (value >= rules.high) high.set(rules.high = Math.min(1, value + 0.01));
    set("low", value);
  });
  const high = slider("high threshold: above it is a candidate", { min: 0.01, max: 1, step: 0.01, value: rules.high }, (value) => {
    if (value <= rules.low) low.set(rules.low = Math.max(0, value - 0.01));
    set("high", value);
  });
  const area = slider("α, the least size of a region",
    { min: 0, max: 0.1, step: 0.001, value: rules.minArea, show: (v) => `${Math.round(v * height * width)} pixels` },
    (value) => set("minArea", value));
  const reach = slider("how far out its centre may lie",
    { min: 0.02, max: 0.75, step: 0.01, value: rules.exclusion, show: (v) => `${percent(v)} of the side` },
    (value) => set("exclusion", value));
  const rule = choice("The most central has the least", {
    mean: "mean distance", sum: "sum of distances, as printed", relative: "mean distance over its size",
  }, rules.rule, (value) => set("rule", value));
  const neighbours = choice("Pixels touch", { 8: "at sides and corners (8)", 4: "at sides only (4)" },
    rules.neighbours, (value) => set("neighbours", Number(value)));
  const head = ["pixels", "mean distance", "verdict"].map((text) => make("th", { scope: "col" }, text));
  const table = make("table", { class: "usl-regions no-sort" }, make("caption", {}, "Its largest regions"),
    make("thead", {}, make("tr", {}, ...head)), rows);

  /** A dotted ring: the centroid of what is chosen must lie inside. */
  function onRing(at) {
    const y = Math.floor(at / width);
    const distance = Math.hypot(y - height / 2, (at % width) - width / 2);
    return Math.abs(distance - rules.exclusion * Math.min(height, width)) < 0.5 && (at + y) % 2 === 0;
  }

  function tell(out, count) {
    const certain = out.label.reduce((sum, value) => sum + (value !== 1), 0) / count;
    const found = out.regions.length === 1 ? "1 region" : `${out.regions.length} regions`;
    const verdictOf = out.keep ? "This image teaches" : `This image is left out: ${out.reason}`;
    verdict.textContent = `${found} above ${rules.high.toFixed(2)}. ${verdictOf}. ${percent(certain)} of its pixels are certain.`;
    const largest = [...out.regions].sort((a, b) => b.area - a.area).slice(0, MOST_ROWS);
    rows.replaceChildren(...largest.map((region) => make("tr", { class: region.reason === "chosen" && "usl-chosen" },
      ...[String(region.area), region.distance.toFixed(1), region.reason].map((text) => make("td", {}, text)))));
  }

  /** Split a map and show what came out; gives what `split` gives. */
  function update(map) {
    const out = split(map, height, width, rules);
    const owner = new Int32Array(map.length).fill(-1);
    out.regions.forEach((region, k) => region.pixels.forEach((at) => { owner[at] = k; }));
    const same = (a, b) => owner[a] === owner[b];
    paint(labels, (at) => LABELS[out.label[at]]);
    paint(marks, (at) => {
      if (owner[at] >= 0 && onRim(at, width, height, same)) return owner[at] === out.chosen ? YELLOW : WHITE;
      return onRing(at) ? [255, 255, 255, 170] : NOTHING;
    });
    tell(out, map.length);
    return out;
  }

  const controls = make("div", { class: "usl-controls" }, low.el, high.el, area.el, reach.el, rule, neighbours);
  return { marks, labels, verdict, controls, table, update };
}
