"""A small Sphinx extension: leave out sphinx-thebe, which Jupyter Book loads whether a book uses it or not.

Its script names an address on the web, and both Jupyter Book and the theme add it, so that each page reports an error
(`THEBE_JS_URL has already been declared`). This book has no buttons that would need it.
"""

from __future__ import annotations

from sphinx.application import Sphinx
from sphinx.config import Config


def disconnect(app: Sphinx, config: Config) -> None:
    """Take sphinx-thebe's handlers out, except the one that fills in its defaults (the theme reads those)."""
    unwanted = ("init_thebe_core", "update_thebe_context")
    for listeners in list(app.events.listeners.values()):
        for listener in list(listeners):
            handler = listener.handler
            if handler.__module__ == "sphinx_thebe" and handler.__name__ in unwanted:
                app.disconnect(listener.id)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after every extension has been set up, whatever their order."""
    app.connect("config-inited", disconnect)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
