// Loaded before require.js and the widget manager. This project's own file; the others in vendor/ are unchanged packages.
(function () {
  // The manager looks for its fonts where require.js believes it to be: beside the page. It lies beside this script.
  var here = document.currentScript && document.currentScript.src;
  if (here) {
    here = here.slice(0, here.lastIndexOf("/"));
    window.__jupyter_widgets_assets_path__ = here + "/";
    if (typeof window.require === "undefined") {
      window.require = { paths: { "@jupyter-widgets/html-manager/dist": here } };
    }
  }

  // Widgets call MathJax 2, as MathJax.Hub.Queue(["Typeset", MathJax.Hub, node]); the page has MathJax 3. The global is
  // set more than once (the page's settings, then MathJax itself), so each new value gets the old door.
  function typeset(node) {
    if (node && node.classList) {
      node.classList.add("mathjax_process"); // the page as a whole says that it holds no formulas outside its spans
    }
    function now() {
      if (window.MathJax && window.MathJax.typesetPromise) {
        window.MathJax.typesetPromise(node ? [node] : undefined).catch(function () {});
      }
    }
    if (window.MathJax && window.MathJax.typesetPromise) {
      setTimeout(now, 0); // the widget is put into the page after this call
    } else {
      window.addEventListener("load", function () { setTimeout(now, 0); });
    }
  }
  var hub = {
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
  };
  function withHub(target) {
    if (target && typeof target === "object" && !target.Hub) {
      Object.defineProperty(target, "Hub", { enumerable: false, value: hub });
    }
    return target;
  }
  var value = withHub(window.MathJax);
  Object.defineProperty(window, "MathJax", {
    configurable: true,
    enumerable: true,
    get: function () { return value; },
    set: function (next) { value = withHub(next); },
  });
})();
