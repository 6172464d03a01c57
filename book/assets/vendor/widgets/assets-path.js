// Loaded before the widget manager. This project's own file; the others in vendor/ are unchanged packages.
(function () {
  // The manager looks for its fonts relative to the page; they lie beside this script.
  var here = document.currentScript && document.currentScript.src;
  if (here) {
    window.__jupyter_widgets_assets_path__ = here.slice(0, here.lastIndexOf("/") + 1);
  }

  // Widgets call MathJax 2, as MathJax.Hub.Queue(["Typeset", MathJax.Hub, node]); the page has MathJax 3. The global
  // is set more than once (the page's settings, then MathJax itself), so each new value gets the old door.
  var value = window.MathJax;
  function typeset(node) {
    if (window.MathJax && window.MathJax.typesetPromise) {
      window.MathJax.typesetPromise(node ? [node] : undefined).catch(function () {});
    }
  }
  function withHub(target) {
    if (target && typeof target === "object" && !target.Hub) {
      Object.defineProperty(target, "Hub", {
        enumerable: false,
        value: {
          Config: function () {},
          Configured: function () {},
          Queue: function () {
            Array.prototype.forEach.call(arguments, function (call) {
              if (typeof call === "function") {
                call();
              } else if (call && call[0] === "Typeset") {
                typeset(call[2]);
              }
            });
          },
        },
      });
    }
    return target;
  }
  withHub(value);
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    enumerable: true,
    get: function () { return value; },
    set: function (next) { value = withHub(next); },
  });
})();
