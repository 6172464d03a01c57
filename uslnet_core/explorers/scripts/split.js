// Explorer: the three-way split of real saliency maps, and what each rule of the uncertainty module does to it.
import { canvas, cividis, floats, hang, make, paint, panel, whichImage } from "./kit.js";
import { splitView } from "./splitview.js";

/** data: {height, width, rules, items: [{title, picture (data URL), map (base64 of float32)}]}. */
export function mount(el, data) {
  const { height, width, items } = data;
  const maps = items.map((item) => floats(item.map));
  const picture = make("img", { alt: "" });
  const saliency = canvas(width, height, "Saliency, from dark blue for 0 to yellow for 1");
  let shown = 0;
  const view = splitView(height, width, data.rules, () => view.update(maps[shown]));

  function show(k) {
    shown = k;
    hang(picture, items[k]);
    paint(saliency, (at) => cividis(maps[k][at]));
    view.update(maps[k]);
  }

  const ofSaliency = panel("its saliency", saliency);
  ofSaliency.classList.add("usl-late"); // where there is room for two beside each other, the split is the second
  el.replaceChildren(
    ...whichImage(items, show),
    make("div", { class: "usl-panels" },
      panel("the image, its regions, and the ring in which a lesion must have its centre", picture, view.marks),
      ofSaliency,
      panel("the split in three", view.labels)),
    view.verdict, view.controls, view.table);
  show(0);
}
