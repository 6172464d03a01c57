// Explorer: two random views of an image, drawn again at a click: what the encoder must learn to overlook.
import { drawAmounts, stream, view } from "./augment.js";
import { button, canvas, choice, hang, make, paint, panel, percent, pixelsOf, slider, whichImage } from "./kit.js";

const FRAMES = ["#E69F00", "#56B4E9"];

/** data: {size, recipes: {name: recipe}, items: [{title, picture}]}. */
export function mount(el, data) {
  const { size, items } = data;
  const names = Object.keys(data.recipes);
  let recipe = { ...data.recipes[names[0]] };
  let picture = null;
  let seed = 1;
  const original = make("img", { alt: "" });
  const frames = FRAMES.map((colour) => make("div", { class: "usl-frame", style: `border-color: ${colour}` }));
  const views = ["first", "second"].map((which) => canvas(size, size, `The ${which} view`, { class: "usl-smooth" }));
  const told = make("p", { class: "usl-told", "aria-live": "polite" });

  /** What was done to a view, in words. */
  function words({ width, height, flipX, flipY, brightness, saturation, turn, grey, blur }) {
    const signed = (value, text) => `${value < 0 ? "−" : "+"}${text(Math.abs(value))}`;
    const by = (factor) => signed(factor - 1, percent);
    const degrees = (angle) => `${(angle * 180 / Math.PI).toFixed(0)}°`;
    const flips = [flipX && "left and right", flipY && "up and down"].filter(Boolean).join(", ");
    return [`${percent(width * height)} of the image`, flips && `mirrored ${flips}`,
      brightness !== 1 && `brightness ${by(brightness)}`, saturation !== 1 && !grey && `saturation ${by(saturation)}`,
      turn && !grey && `hue turned by ${signed(turn, degrees)}`, grey && "grey", blur && "blurred"]
      .filter(Boolean).join(", ");
  }

  function draw() {
    if (!picture) return;
    const random = stream(seed);
    const amounts = views.map(() => drawAmounts(recipe, random));
    amounts.forEach((of, k) => {
      const { data: pixels } = view(picture, of, size);
      paint(views[k], (at) => [255 * pixels[3 * at], 255 * pixels[3 * at + 1], 255 * pixels[3 * at + 2]]);
      const edge = (centre, length) => `${50 * (1 + centre - length)}%`;
      const long = (length) => `${100 * length}%`;
      Object.assign(frames[k].style, {
        left: edge(of.x, of.width), top: edge(of.y, of.height), width: long(of.width), height: long(of.height),
      });
    });
    told.textContent = `First: ${words(amounts[0])}. Second: ${words(amounts[1])}.`;
  }

  const again = (name, scale = (value) => value) => (value) => {
    recipe[name] = scale(value);
    draw();
  };
  const area = slider("least part of the image",
    { min: 0.05, max: 1, step: 0.01, value: recipe.crop_area[0], show: (v) => percent(v) },
    again("crop_area", (value) => [value, Math.max(value, recipe.crop_area[1])]));
  const colour = slider("brightness and contrast, at most",
    { min: 0, max: 0.9, step: 0.05, value: recipe.brightness, show: (v) => `±${percent(v)}` },
    (value) => {
      Object.assign(recipe, { brightness: value, contrast: value });
      draw();
    });
  const hue = slider("hue, at most",
    { min: 0, max: 0.5, step: 0.01, value: recipe.hue, show: (v) => `±${(360 * v).toFixed(0)}°` }, again("hue"));
  const share = slider("share of grey views",
    { min: 0, max: 1, step: 0.05, value: recipe.grey, show: (v) => percent(v) }, again("grey"));
  const which = names.length < 2 ? null : choice("Recipe", Object.fromEntries(names.map((name) => [name, name])), names[0], (name) => {
    recipe = { ...data.recipes[name] };
    area.set(recipe.crop_area[0]);
    colour.set(recipe.brightness);
    hue.set(recipe.hue);
    share.set(recipe.grey);
    draw();
  });

  let asked = 0;
  async function show(k) {
    const mine = ++asked;
    hang(original, items[k]);
    const { data: rgba, width } = await pixelsOf(items[k].picture);
    if (mine !== asked) return; // another image was chosen meanwhile
    const values = new Float32Array(3 * width * width);
    values.forEach((_, at) => { values[at] = rgba[4 * Math.floor(at / 3) + at % 3] / 255; });
    picture = { data: values, side: width };
    draw();
  }

  const redraw = button("Draw again", () => {
    seed += 1;
    draw();
  });
  el.replaceChildren(
    ...whichImage(items, show),
    make("div", { class: "usl-panels" },
      panel("the image, and the parts that are cut out", original, ...frames),
      ...views.map((each, k) => panel(
        make("span", {}, make("span", { class: "usl-key", style: `background: ${FRAMES[k]}` }), k ? " second view" : " first view"),
        each))),
    make("div", { class: "usl-row" }, redraw),
    told,
    make("div", { class: "usl-controls" }, ...[which, area.el, colour.el, hue.el, share.el].filter(Boolean)));
  show(0);
}
