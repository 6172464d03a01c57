// What a term or a symbol means, shown at the mouse, the keyboard's focus or a finger's first tap.
// The build has written the meanings into the page (tools/sphinx_ext/hover_links.py), so nothing is asked for.
// Esc closes; the mouse may move onto the box; a second tap, a click or Enter follows the link.
(() => {
  "use strict";
  let box, shown, timer;

  function hide() {
    clearTimeout(timer);
    if (box) box.hidden = true;
    shown = undefined;
  }

  // below the word, or above it where there is no room; never beyond the window's edge
  function place(link) {
    const at = link.getClientRects()[0];
    box.style.left = "0px";
    const { width, height } = box.getBoundingClientRect();
    const right = document.documentElement.clientWidth - width - 8;
    const below = at.bottom + 6 + height < window.innerHeight || at.top < height + 6;
    box.style.left = `${Math.max(8, Math.min(at.left, right))}px`;
    box.style.top = `${below ? at.bottom + 6 : at.top - height - 6}px`;
  }

  function show(link) {
    clearTimeout(timer);
    const meaning = document.getElementById(link.getAttribute("aria-describedby"));
    if (!meaning) return;
    if (!box) {
      box = document.createElement("div");
      box.className = "hover-box";
      box.setAttribute("aria-hidden", "true"); // a screen reader has the description itself
      box.addEventListener("pointerenter", () => clearTimeout(timer));
      box.addEventListener("pointerleave", () => later(hide));
      document.querySelector(".bd-article").append(box);
    }
    box.replaceChildren(...[...meaning.childNodes].map((node) => node.cloneNode(true)));
    box.hidden = false;
    shown = link;
    place(link);
  }

  function later(what) {
    clearTimeout(timer);
    timer = setTimeout(what, 200);
  }

  function start() {
    let touched = false; // whether a finger, not a mouse or a key, is at work
    for (const link of document.querySelectorAll("a.hover-link")) {
      link.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && later(() => show(link)));
      link.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && later(hide));
      link.addEventListener("pointerdown", (event) => (touched = event.pointerType !== "mouse"));
      link.addEventListener("focus", () => !touched && show(link));
      link.addEventListener("blur", () => later(hide));
      link.addEventListener("click", (event) => {
        if (touched && shown !== link) {
          event.preventDefault();
          show(link);
        }
        touched = false;
      });
    }
    document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
    document.addEventListener("pointerdown", (event) => shown && !event.target.closest(".hover-link, .hover-box") && hide());
    addEventListener("scroll", () => shown && place(shown), { passive: true });
    addEventListener("resize", hide);
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
