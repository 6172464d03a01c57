// What all explorers share: elements, sliders, choices, canvases, colours. No framework, no request.

/** Colours of the labels 0, 1, 2, as `uslnet_core.figures` has them: background, uncertain, foreground. */
export const LABELS = [[0, 114, 178], [153, 153, 153], [240, 228, 66]];

/** Make an element: `make("p", {class: "told"}, "text", child)`. */
export function make(name, attributes = {}, ...children) {
  const el = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) el.setAttribute(key, "");
    else if (value !== false && value != null) el.setAttribute(key, value);
  }
  el.append(...children.filter((child) => child != null));
  return el;
}

let counted = 0;
const fresh = (what) => `usl-${what}-${Date.now().toString(36)}-${++counted}`;

/** A labelled slider with its value beside it; `change(value)` is called at every move. */
export function slider(label, { min, max, step, value, show = (v) => v.toFixed(2) }, change) {
  const id = fresh("slider");
  const told = make("output", { for: id, "aria-live": "off" }); // the slider says its value itself
  const input = make("input", { type: "range", id, min, max, step });
  const set = (v) => {
    input.value = v;
    told.textContent = show(Number(v));
    input.setAttribute("aria-valuetext", told.textContent);
  };
  input.addEventListener("input", () => {
    const moved = Number(input.value);
    set(moved);
    change(moved);
  });
  set(value);
  return { el: make("div", { class: "usl-slider" }, make("label", { for: id }, label), input, told), set, input };
}

/** A group of choices, of which one holds: {key: text}; `change(key)` is called with the new one. */
export function choice(label, options, value, change) {
  const name = fresh("choice");
  const group = make("fieldset", { class: "usl-choice" }, make("legend", {}, label));
  for (const [key, text] of Object.entries(options)) {
    const input = make("input", { type: "radio", name, value: key });
    input.checked = key === String(value);
    input.addEventListener("change", () => change(key));
    group.append(make("label", {}, input, ` ${text}`));
  }
  return group;
}

/** The choice among a few images, as a list of elements; empty where there is but one. */
export function whichImage(items, change) {
  if (items.length < 2) return [];
  const titles = Object.fromEntries(items.map((item, k) => [k, item.title]));
  return [choice("Image", titles, 0, (key) => change(Number(key)))];
}

/** Show an item's image, with its title for those who do not see it. */
export function hang(picture, item) {
  picture.src = item.picture;
  picture.alt = item.title;
}

/** A button. */
export function button(text, press, attributes = {}) {
  const el = make("button", { type: "button", class: "usl-button", ...attributes }, text);
  el.addEventListener("click", press);
  return el;
}

/** A canvas of a map's own pixels, enlarged without blur by the style sheet. */
export function canvas(width, height, text, attributes = {}) {
  return make("canvas", { width, height, role: "img", "aria-label": text, ...attributes });
}

/** A titled panel. */
export function panel(title, ...content) {
  return make("figure", { class: "usl-figure" }, make("div", { class: "usl-panel" }, ...content),
    make("figcaption", {}, title));
}

/** Colours of saliency from 0 to 1: matplotlib's cividis, by nine of its values. */
const CIVIDIS = [
  [0, 34, 78], [26, 56, 111], [64, 77, 108], [92, 98, 110], [123, 123, 120],
  [153, 147, 119], [187, 175, 110], [222, 204, 90], [254, 232, 56],
];
export function cividis(value) {
  const at = Math.min(Math.max(value, 0), 1) * (CIVIDIS.length - 1);
  const k = Math.min(Math.floor(at), CIVIDIS.length - 2);
  return CIVIDIS[k].map((c, i) => c + (at - k) * (CIVIDIS[k + 1][i] - c));
}

/** Paint a function of the pixel's place: `colour(at)` gives [r, g, b] or [r, g, b, alpha], 0 to 255. */
export function paint(target, colour) {
  const context = target.getContext("2d");
  const image = context.createImageData(target.width, target.height);
  for (let at = 0; at < target.width * target.height; at++) {
    const [r, g, b, a = 255] = colour(at);
    image.data.set([r, g, b, a], 4 * at);
  }
  context.putImageData(image, 0, 0);
}

/** Is a pixel on the rim of its own area, or on the rim of the map? `same(a, b)` says what belongs together. */
export function onRim(at, width, height, same) {
  const x = at % width;
  const y = Math.floor(at / width);
  if (!x || !y || x === width - 1 || y === height - 1) return true;
  return !(same(at, at - 1) && same(at, at + 1) && same(at, at - width) && same(at, at + width));
}

export const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

/** Bytes and float32 numbers out of base64. */
export const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
export const floats = (text) => new Float32Array(bytes(text).buffer);

/** The pixels of a picture, drawn to a size: {data, width, height}, four bytes a pixel. */
export async function pixelsOf(source, width, height) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const own = make("canvas", { width: width ?? image.naturalWidth, height: height ?? image.naturalHeight });
  const context = own.getContext("2d");
  context.drawImage(image, 0, 0, own.width, own.height);
  return context.getImageData(0, 0, own.width, own.height);
}
