// Tables of data: sorted by a click on a heading, and scrolled inside their own box where the window is too narrow.
// A table can be sorted if it has a column of numbers and three rows or more. Where the order of the rows is the story,
// give the table, or something around it, the class `in-order` (in a notebook: the cell's tag `in-order`).
(() => {
  "use strict";
  const MISSING = /^(|[–—-]|nan|none|n\/a|<na>)$/i;
  const NUMBER = /^[+−-]?(\d[\d,]*\.?\d*|\.\d+)(e[+−-]?\d+)?(?=$|[\s%±×°)])/i;
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

  const text = (cell) => (cell ? cell.textContent.trim() : "");

  // "81.1 ± 0.3" is 81.1, "−0.9" is below zero, "1,234" is more than a thousand
  function value(shown) {
    const found = shown.match(NUMBER);
    return found ? Number(found[0].replace(/,/g, "").replace(/−/g, "-")) : NaN;
  }

  function compare(column, up) {
    const sign = up ? 1 : -1;
    return (a, b) => {
      const [x, y] = [text(a.cells[column]), text(b.cells[column])];
      const [noX, noY] = [MISSING.test(x), MISSING.test(y)];
      if (noX || noY) return noX - noY; // missing values last, whichever way
      const [p, q] = [value(x), value(y)];
      return sign * (Number.isNaN(p) || Number.isNaN(q) ? words.compare(x, y) : p - q);
    };
  }

  function isNumbers(rows, column) {
    const shown = rows.map((row) => text(row.cells[column])).filter((each) => !MISSING.test(each));
    return shown.length > 1 && shown.every((each) => !Number.isNaN(value(each)));
  }

  // the headings: of the rows of the head, the one that names most columns
  function headings(table) {
    const rows = table.tHead ? [...table.tHead.rows] : [];
    const named = (row) => [...row.cells].filter((cell) => text(cell)).length;
    return rows.sort((a, b) => named(b) - named(a))[0];
  }

  function sort(table, rows, cell) {
    const way = NEXT[cell.getAttribute("aria-sort")];
    for (const each of table.tHead.querySelectorAll("[aria-sort]")) each.setAttribute("aria-sort", "none");
    cell.setAttribute("aria-sort", way);
    const sorted = way === "none" ? rows : [...rows].sort(compare(cell.cellIndex, way === "ascending"));
    table.tBodies[0].append(...sorted);
    // stripes follow the place, not the row
    sorted.forEach((row, place) => {
      if (/\brow-(odd|even)\b/.test(row.className)) {
        row.classList.toggle("row-even", place % 2 === 0);
        row.classList.toggle("row-odd", place % 2 === 1);
      }
    });
  }

  function makeSortable(table) {
    const head = headings(table);
    const rows = table.tBodies.length === 1 ? [...table.tBodies[0].rows] : [];
    if (!head || rows.length < 3 || table.closest(".in-order, .tag_in-order")) return;
    if (table.querySelector("[colspan]:not([colspan='1']), [rowspan]:not([rowspan='1'])")) return;
    if (rows.some((row) => row.cells.length !== head.cells.length)) return;
    if (![...head.cells].some((_, column) => isNumbers(rows, column))) return;
    for (const cell of head.cells) {
      if (!text(cell) || cell.tagName !== "TH" || cell.querySelector("a, button")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort-button";
      const inside = cell.children.length === 1 && cell.firstElementChild.matches("p") ? cell.firstElementChild : cell;
      button.append(...inside.childNodes);
      inside.append(button);
      cell.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, rows, cell));
    }
    table.classList.add("sortable");
  }

  // A box of its own for each table; the keyboard reaches it only while there is something to scroll.
  function makeScrollable(table) {
    let box = table.parentElement;
    if (!box.classList.contains("pst-scrollable-table-container")) {
      box = document.createElement("div");
      box.className = "pst-scrollable-table-container";
      table.replaceWith(box);
      box.append(table);
    }
    box.classList.add("table-box");
    const reach = () => {
      const wide = box.scrollWidth > box.clientWidth + 1;
      if (wide) {
        box.setAttribute("tabindex", "0");
        box.setAttribute("role", "group");
        box.setAttribute("aria-label", text(table.caption).slice(0, 80) || "Table, scrolls sideways");
      } else for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
    };
    new ResizeObserver(reach).observe(box);
    reach();
  }

  function start() {
    for (const table of document.querySelectorAll(".bd-article table")) {
      if (table.closest(".jupyter-widgets, .no-sort")) continue;
      makeSortable(table);
      makeScrollable(table);
    }
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
