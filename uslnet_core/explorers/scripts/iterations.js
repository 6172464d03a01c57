// Explorer: how the labels of an image change from one iteration of the refinement to the next.
import { button, bytes, canvas, hang, LABELS, make, onRim, paint, panel, percent, slider, whichImage } from "./kit.js";

const PACE = 900; // milliseconds an iteration, when it plays

/** data: {height, width, names, items: [{title, picture, labels: [base64 of 0, 1, 2 for each name], truth?}]}. */
export function mount(el, data) {
  const { height, width, names, items } = data;
  const labels = items.map((item) => item.labels.map(bytes));
  const truths = items.map((item) => (item.truth ? bytes(item.truth) : null));
  const picture = make("img", { alt: "" });
  const line = canvas(width, height, "Outline of the label's foreground on the image, yellow; the expert's, white", { class: "usl-over" });
  const shown = canvas(width, height, "The label: blue background, grey uncertain, yellow foreground");
  const told = make("p", { class: "usl-told", "aria-live": "polite" });
  let image = 0;
  let at = 0;
  let playing = null;

  function draw() {
    const label = labels[image][at];
    const truth = truths[image];
    paint(shown, (k) => LABELS[label[k]]);
    paint(line, (k) => {
      if (truth?.[k] && onRim(k, width, height, (a, b) => truth[a] === truth[b])) return [255, 255, 255, 255];
      const edge = label[k] === 2 && onRim(k, width, height, (a, b) => (label[a] === 2) === (label[b] === 2));
      return edge ? [...LABELS[2], 255] : [0, 0, 0, 0];
    });
    const share = (test) => percent(label.reduce((sum, _, k) => sum + test(k), 0) / label.length);
    const before = at ? labels[image][at - 1] : null;
    const changed = before ? ` ${share((k) => label[k] !== before[k])} changed from ${names[at - 1]}.` : "";
    told.textContent = `${names[at]}: ${share((k) => label[k] !== 1)} certain, ${share((k) => label[k] === 2)} foreground.${changed}`;
  }

  const stop = () => {
    clearInterval(playing);
    playing = null;
    play.textContent = "Play";
  };
  const move = (to) => {
    at = to;
    steps.set(at);
    draw();
  };
  const steps = slider("iteration", { min: 0, max: names.length - 1, step: 1, value: 0, show: (v) => names[v] }, (value) => {
    stop();
    move(value);
  });
  const play = button("Play", () => {
    if (playing) return stop();
    move(0);
    play.textContent = "Stop";
    playing = setInterval(() => {
      if (at + 1 < names.length) move(at + 1);
      else stop();
    }, PACE);
  });

  function show(k) {
    image = k;
    hang(picture, items[k]);
    draw();
  }

  el.replaceChildren(
    ...whichImage(items, show),
    make("div", { class: "usl-panels usl-two" },
      panel("the image, and what is called lesion (yellow)" + (truths.some(Boolean) ? "; the expert's outline (white)" : ""), picture, line),
      panel("the label that teaches", shown)),
    make("div", { class: "usl-row" }, steps.el, play), told);
  show(0);
}
