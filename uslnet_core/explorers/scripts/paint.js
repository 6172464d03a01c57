// Explorer: paint a saliency map by hand, or bring a picture as one, and see what the uncertainty module makes of it.
import { button, canvas, cividis, make, paint, panel, pixelsOf, slider } from "./kit.js";
import { splitView } from "./splitview.js";

/** Maps to start from: a number in [0, 1] for each place, given from −1 to 1 in both directions. */
const SHAPES = {
  "a soft disc": (y, x) => Math.max(0, 1 - Math.hypot(y, x)),
  "two spots": (y, x) => Math.max(0, 1 - 2.2 * Math.hypot(y + 0.1, x + 0.3), 0.9 - 3 * Math.hypot(y + 0.6, x - 0.6)),
  "a ring": (y, x) => Math.max(0, 1 - 4 * Math.abs(Math.hypot(y, x) - 0.55)),
  "dark corners": (y, x) => Math.max(0, Math.hypot(y, x) - 0.5, 0.75 - 1.6 * Math.hypot(y, x)),
  nothing: () => 0,
};

/** data: {size, rules}. */
export function mount(el, data) {
  const { size } = data;
  const map = new Float32Array(size * size);
  const cursor = { y: Math.floor(size / 2), x: Math.floor(size / 2), seen: false };
  let strength = 1;
  let reach = 4;
  const view = splitView(size, size, data.rules, () => view.update(map));
  const easel = canvas(size, size, "", { class: "usl-easel", tabindex: 0, role: "application" });
  const how = "Paint with mouse or finger. With keys: arrows move the brush, space paints, shift and space rubs out.";
  easel.setAttribute("aria-label", `Saliency map to paint on. ${how}`);

  function draw() {
    const { y, x } = cursor;
    const brush = (at) => Math.abs(Math.hypot(Math.floor(at / size) - y, (at % size) - x) - reach) < 0.5;
    paint(easel, (at) => (cursor.seen && brush(at) ? [255, 255, 255] : cividis(map[at])));
    view.update(map);
  }

  /** Lay a soft brush on the map: six tenths of the way to its strength in the middle, hardly at its rim. */
  function stroke(y, x, rub) {
    for (let v = Math.max(0, y - reach); v <= Math.min(size - 1, y + reach); v++) {
      for (let u = Math.max(0, x - reach); u <= Math.min(size - 1, x + reach); u++) {
        const from = Math.hypot(v - y, u - x) / (reach + 0.5);
        if (from > 1) continue;
        const at = v * size + u;
        const weight = 0.6 * (1 - 0.9 * from * from);
        map[at] += weight * ((rub ? 0 : strength) - map[at]);
      }
    }
  }

  function pointed(event) {
    const box = easel.getBoundingClientRect();
    const place = (value, low, length) => Math.min(size - 1, Math.max(0, Math.floor((value - low) / length * size)));
    return [place(event.clientY, box.top, box.height), place(event.clientX, box.left, box.width)];
  }
  let last = null;
  easel.addEventListener("pointerdown", (event) => {
    easel.setPointerCapture(event.pointerId);
    cursor.seen = false;
    last = pointed(event);
    stroke(...last, event.shiftKey);
    draw();
    event.preventDefault();
    easel.focus({ preventScroll: true });
  });
  easel.addEventListener("pointermove", (event) => {
    if (!last) return;
    const to = pointed(event);
    const steps = Math.max(Math.abs(to[0] - last[0]), Math.abs(to[1] - last[1]));
    for (let k = 1; k <= steps; k++) {
      stroke(...[0, 1].map((i) => Math.round(last[i] + (to[i] - last[i]) * k / steps)), event.shiftKey);
    }
    last = to;
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) easel.addEventListener(end, () => { last = null; });

  const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  easel.addEventListener("keydown", (event) => {
    if (event.key in MOVES) {
      const [dy, dx] = MOVES[event.key];
      cursor.y = Math.min(size - 1, Math.max(0, cursor.y + dy));
      cursor.x = Math.min(size - 1, Math.max(0, cursor.x + dx));
      cursor.seen = true;
    } else if (event.key === " ") {
      stroke(cursor.y, cursor.x, event.shiftKey);
    } else return;
    draw();
    event.preventDefault();
  });
  easel.addEventListener("blur", () => {
    cursor.seen = false;
    draw();
  });

  function fill(shape) {
    const place = (k) => 2 * k / (size - 1) - 1;
    map.forEach((_, at) => { map[at] = Math.min(1, shape(place(Math.floor(at / size)), place(at % size))); });
    draw();
  }

  const brought = make("input", { type: "file", accept: "image/*" });
  const refused = make("p", { class: "usl-refused", role: "alert" });
  brought.addEventListener("change", async () => {
    const [file] = brought.files;
    if (!file) return;
    const source = URL.createObjectURL(file);
    try {
      const { data: pixels } = await pixelsOf(source, size, size);
      map.forEach((_, at) => {
        map[at] = (0.299 * pixels[4 * at] + 0.587 * pixels[4 * at + 1] + 0.114 * pixels[4 * at + 2]) / 255;
      });
      refused.textContent = "";
      draw();
    } catch {
      refused.textContent = `${file.name} is no picture that this browser can read. Bring a PNG or a JPEG.`;
    } finally {
      URL.revokeObjectURL(source);
    }
  });

  const shapes = Object.entries(SHAPES).map(([title, shape]) => button(title, () => fill(shape)));
  const brush = make("div", { class: "usl-controls" },
    slider("brush: saliency that it paints", { min: 0, max: 1, step: 0.05, value: strength }, (value) => { strength = value; }).el,
    slider("brush: radius", { min: 0, max: 12, step: 1, value: reach, show: (v) => `${v} pixels` }, (value) => { reach = value; }).el);
  el.replaceChildren(
    make("div", { class: "usl-row", role: "group", "aria-label": "Start from" }, "Start from ", ...shapes),
    make("div", { class: "usl-panels usl-two" },
      panel(how, easel, view.marks),
      panel("the split in three", view.labels)),
    brush, view.verdict, view.controls,
    make("label", { class: "usl-row" }, "Or bring a grey picture as a map, white for salient; it stays on this computer: ", brought),
    refused, view.table);
  fill(SHAPES["two spots"]);
}
