"""The examples of the pages in docs/, to be run."""

from __future__ import annotations

import re
from pathlib import Path

_DOCS = Path(__file__).parent.parent / "docs"


def python_examples(page: str) -> list[str]:
    """The blocks of Python on a page, in order."""
    return re.findall(r"^```python\n(.*?)^```", (_DOCS / page).read_text("utf-8"), re.M | re.S)
