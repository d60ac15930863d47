"""The examples of the pages in docs/, to be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

_DOCS = Path(__file__).parent.parent / "docs"


def python_examples(page: str) -> list[str]:
    """The blocks of Python on a page, in order."""
    return re.findall(r"^```python\n(.*?)^```", (_DOCS / page).read_text("utf-8"), re.M | re.S)


def shell_examples(page: str) -> list[list[str]]:
    """The commands of volcodec on a page, in order, each as its arguments."""
    blocks = re.findall(r"^```\n(.*?)^```", (_DOCS / page).read_text("utf-8"), re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("volcodec ")]
