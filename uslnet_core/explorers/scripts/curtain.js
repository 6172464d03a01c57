// Explorer: two models on one image, with a curtain between them.
import { bytes, canvas, choice, hang, make, onRim, paint, panel, slider, whichImage } from "./kit.js";

const PREDICTION = [86, 180, 233, 255];
const TRUTH = [255, 255, 255, 255];
const OVER = [213, 94, 0, 150];
const UNDER = [0, 158, 115, 170];

/** data: {height, width, models, items: [{title, picture, masks: [base64 for each model], told: [text], truth?}]}. */
export function mount(el, data) {
  const { height, width, models, items } = data;
  const masks = items.map((item) => item.masks.map(bytes));
  const truths = items.map((item) => (item.truth ? bytes(item.truth) : null));
  const scored = truths.some(Boolean);
  const picture = make("img", { alt: "", draggable: "false" });
  const sides = ["left", "right"].map((side) => canvas(width, height, `The ${side} model's mask`, { class: "usl-over" }));
  const rod = make("div", { class: "usl-rod" });
  const names = ["left", "right"].map((side) => make("span", { class: `usl-name usl-${side}` }));
  const told = make("p", { class: "usl-told", "aria-live": "polite" });
  const of = [0, models.length - 1];
  let image = 0;

  function draw() {
    const truth = truths[image];
    of.forEach((model, side) => {
      const mask = masks[image][model];
      paint(sides[side], (k) => {
        if (mask[k] && onRim(k, width, height, (a, b) => mask[a] === mask[b])) return PREDICTION;
        if (!truth) return [0, 0, 0, 0];
        if (truth[k] && onRim(k, width, height, (a, b) => truth[a] === truth[b])) return TRUTH;
        if (mask[k] === truth[k]) return [0, 0, 0, 0];
        return mask[k] ? OVER : UNDER;
      });
      names[side].textContent = models[model];
    });
    told.textContent = of.map((model) => items[image].told[model]).join("  ·  ");
  }

  const pull = slider("curtain", { min: 0, max: 100, step: 1, value: 50, show: (v) => `${v} %` }, open);
  function open(share) {
    sides[0].style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    sides[1].style.clipPath = `inset(0 0 0 ${share}%)`;
    rod.style.left = `${share}%`;
  }
  const stage = panel(
    "the prediction's outline in sky blue" + (scored ? "; the expert's in white, orange-red too much, green too little" : ""),
    picture, ...sides, rod, ...names);
  const frame = stage.firstChild;
  frame.classList.add("usl-curtain");
  const dragged = (event) => {
    const box = frame.getBoundingClientRect();
    const share = Math.round(Math.min(100, Math.max(0, 100 * (event.clientX - box.left) / box.width)));
    pull.set(share);
    open(share);
  };
  frame.addEventListener("pointerdown", (event) => {
    frame.setPointerCapture(event.pointerId);
    dragged(event);
    event.preventDefault();
  });
  frame.addEventListener("pointermove", (event) => {
    if (frame.hasPointerCapture(event.pointerId)) dragged(event);
  });

  const options = Object.fromEntries(models.map((name, k) => [k, name]));
  const pick = (text, side) => choice(text, options, of[side], (key) => {
    of[side] = Number(key);
    draw();
  });
  function show(k) {
    image = k;
    hang(picture, items[k]);
    draw();
  }

  el.replaceChildren(
    ...whichImage(items, show),
    make("div", { class: "usl-panels usl-one" }, stage),
    make("div", { class: "usl-row" }, pull.el), told,
    make("div", { class: "usl-controls" }, pick("Left", 0), pick("Right", 1)));
  open(50);
  show(0);
}
