"""NiiVue, the viewer that draws the volumes, as the package ipyniivue brings it.

Its widget carries the whole library a second time, as the text of an ES module, to save scenes
as HTML files. That text is read here; the package itself, which needs Jupyter's, is not imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from urllib.parse import unquote

from volcodec.errors import InputError

_INSTALL = "pip install 'volcodec[page]'"
_EXPORT = re.compile(r"export\s*\{([^{}]*)\}\s*;?\s*$")
_VERSION = re.compile(r'"@niivue/niivue",version:"([\w.-]+)"|NIIVUE VERSION ","([\w.-]+)"')
_QUOTED_EXPORT = re.compile(r"export%7B[\w%$]*?Niivue(?=%)[\w%$]*?%7D(?:%3B)?(?:%0A)*(?=\")")


@dataclass(frozen=True)
class Library:
    """A JavaScript library to be put into a page.

    code: what may stand between <script type="module"> and its end; it exports nothing.
    niivue: what the class Niivue is called in it.
    version: of NiiVue; licence: its text, which has to go with every copy.
    """

    code: str
    niivue: str
    version: str
    licence: str


def load() -> Library:
    """Return the installed NiiVue; InputError, saying what to install, where there is none."""
    found = util.find_spec("ipyniivue")
    places = found.submodule_search_locations if found is not None else None
    if not places:
        raise InputError(f"a page needs NiiVue's viewer: {_INSTALL}")
    try:
        widget = (Path(places[0]) / "static" / "widget.js").read_text("utf-8")
        return extract(widget, _licence())
    except (OSError, ValueError) as error:
        raise InputError(
            f"the installed ipyniivue holds no NiiVue that volcodec can read ({error}): {_INSTALL}"
        ) from error


def extract(widget: str, licence: str) -> Library:
    """Return the NiiVue in the text of a widget; ValueError where it holds none."""
    end = _QUOTED_EXPORT.search(widget)
    if end is None:
        raise ValueError("its widget carries no module")
    begin = widget.rfind('"', 0, end.start()) + 1
    code = unquote(widget[begin : end.end()], errors="strict")
    exports = _EXPORT.search(code)
    names = exports[1].split(",") if exports else []
    pairs = [name.split(" as ") for name in names]
    local = next((pair[0].strip() for pair in pairs if pair[-1].strip() == "Niivue"), "")
    if exports is None or not re.fullmatch(r"[\w$]+", local):
        raise ValueError("its module exports no Niivue")
    code = code[: exports.start()].rstrip().rstrip(";") + ";"
    # in strings, where alone they can stand, these mean the same and end no script
    code = re.sub(r"<(?=/script|script|!--)", r"\\x3c", code, flags=re.IGNORECASE)
    version = _VERSION.search(code)
    return Library(code, local, version[version.lastindex or 0] if version else "", licence)


def _licence() -> str:
    files = metadata.files("ipyniivue") or []
    texts = [file for file in files if file.name.upper().startswith("LICEN")]
    if not texts:
        raise ValueError("its licence is missing")
    return texts[0].read_text("utf-8")
