"""What a table of the report is made of; the template turns it into HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from volcodec.bench.report.words import percent


@dataclass
class Cell:
    """One cell.

    Attributes:
        text: what stands there.
        value: what it is sorted by; None comes last in either direction.
        kind: "win", "loss", "even", "none" (nothing there) or "".
        note: small print under the text.
        bar: a BD-rate in percent to be drawn as a bar beside its text.
        href: where the text links to, within the page.
    """

    text: str
    value: float | str | None = None
    kind: str = ""
    note: str = ""
    bar: float | None = None
    href: str = ""


@dataclass
class Column:
    """One column; `group` is the head above it, `variant` "plain" or "native", `pair` a choice."""

    title: str
    numeric: bool = True
    group: str = ""
    variant: str = ""
    pair: str = ""


@dataclass
class Row:
    """Cells of one row; the first is its head."""

    cells: list[Cell]
    kind: str = ""


@dataclass
class Table:
    """A table with its caption; `foot` are rows that sorting leaves where they are."""

    key: str
    caption: str
    columns: list[Column]
    rows: list[Row]
    foot: list[Row] = field(default_factory=list)
    sortable: bool = True

    @property
    def heads(self) -> list[tuple[int, int]]:
        """Neighbouring columns under one group: (index of the first, how many of them)."""
        out: list[tuple[int, int]] = []
        for index, column in enumerate(self.columns):
            key = (column.group, column.variant, column.pair)
            first, count = out[-1] if out else (0, 0)
            last = self.columns[first]
            if out and column.group and key == (last.group, last.variant, last.pair):
                out[-1] = (first, count + 1)
            else:
                out.append((index, 1))
        return out

    @property
    def reach(self) -> float:
        """The percent at which the bars of the table end, a multiple of ten."""
        bars = [abs(c.bar) for row in self.rows for c in row.cells if c.bar is not None]
        return min(100.0, max(10.0, math.ceil(max(bars, default=0) / 10) * 10.0))


def bits(value: float | None, note: str = "") -> Cell:
    """A BD-rate: its sign, a word for who won, a bar."""
    if value is None:
        return Cell("\N{EN DASH}", None, "none", note or "not comparable")
    kind = "win" if value < 0 else "loss" if value > 0 else "even"
    return Cell(percent(value), value, kind, note, value)
