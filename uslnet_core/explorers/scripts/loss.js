// Explorer: the uncertainty loss on a map of 4 × 4 pixels (equation 3).
import { LABELS, make, panel, slider } from "./kit.js";

const NAMES = ["background", "uncertain", "lesion"];

/** What a pixel pays: cross-entropy of a probability against a label 0, 1 (doubt) or 2. */
export function pays(probability, label) {
  return label === 1 ? 0 : -Math.log(label === 2 ? probability : 1 - probability);
}

/** The loss of an image: mean over its certain pixels (0 where there is none). `doubt`: what an uncertain pixel is taken for. */
export function lossOf(probabilities, labels, doubt = 1) {
  const taken = labels.map((label) => (label === 1 ? doubt : label));
  const certain = taken.filter((label) => label !== 1).length;
  const sum = probabilities.reduce((total, p, k) => total + pays(p, taken[k]), 0);
  return { sum, certain, mean: certain ? sum / certain : 0 };
}

/** data: {side, probabilities, labels (0, 1, 2)}, row by row. */
export function mount(el, data) {
  const { side } = data;
  const probabilities = [...data.probabilities];
  const labels = [...data.labels];
  let chosen = 0;
  const told = make("p", { class: "usl-told", "aria-live": "polite" });
  const grid = () => make("div", { class: "usl-grid", style: `--side: ${side}` });
  const left = grid();
  const right = grid();
  const cells = labels.map((_, k) => {
    const cell = make("button", { type: "button", class: "usl-cell" });
    cell.addEventListener("click", () => {
      if (chosen === k) labels[k] = (labels[k] + 1) % 3;
      chosen = k;
      draw();
    });
    cell.addEventListener("focus", () => {
      if (!cell.matches(":focus-visible")) return;
      chosen = k;
      draw();
    });
    left.append(cell);
    return cell;
  });
  const costs = labels.map(() => make("div", { class: "usl-cell" }));
  right.append(...costs);
  const guess = slider("the chosen pixel's probability of lesion", { min: 0.01, max: 0.99, step: 0.01, value: 0.5 }, (value) => {
    probabilities[chosen] = value;
    draw();
  });

  function draw() {
    const most = -Math.log(0.01);
    const { sum, certain, mean } = lossOf(probabilities, labels);
    labels.forEach((label, k) => {
      const where = `row ${Math.floor(k / side) + 1}, column ${(k % side) + 1}`;
      const p = probabilities[k].toFixed(2);
      cells[k].textContent = p;
      cells[k].style.background = `rgb(${LABELS[label]})`;
      cells[k].style.color = label === 0 ? "#fff" : "#000";
      cells[k].setAttribute("aria-label", `${where}: probability ${p}, label ${NAMES[label]}`);
      cells[k].setAttribute("aria-pressed", String(k === chosen));
      const cost = pays(probabilities[k], label);
      costs[k].textContent = label === 1 ? "–" : cost.toFixed(2);
      costs[k].style.background = `rgb(213 94 0 / ${label === 1 ? 0 : Math.min(0.75, cost / most)})`;
    });
    guess.set(probabilities[chosen]);
    const as = (label) => lossOf(probabilities, labels, label).mean.toFixed(3);
    told.replaceChildren(
      make("strong", {}, `Uncertainty loss ${mean.toFixed(3)}`),
      ` = ${sum.toFixed(2)} / ${certain} certain ${certain === 1 ? "pixel" : "pixels"}. ` +
      `Had grey been called background: ${as(0)}; had it been called lesion: ${as(2)}.`);
  }

  el.replaceChildren(
    make("p", {}, "Choose a pixel; press it again to change its label: blue background, grey uncertain, yellow lesion."),
    make("div", { class: "usl-panels usl-two" },
      panel("labels, and the probability that the network gives", left),
      panel("what each pixel pays", right)),
    make("div", { class: "usl-controls" }, guess.el), told);
  draw();
}
