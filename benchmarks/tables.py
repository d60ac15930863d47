"""Prints the README's figures from committed results, as Markdown.

python -m benchmarks.tables benchmarks/results/rd_test.json [--short]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

GAMES = ("psnr", "error", "error_native")


def percent(volume: dict[str, Any], game: str) -> float:
    """The BD-rate of a volume in a game, in percent."""
    return float(volume["bd"][game]["percent"])


def rows(results: dict[str, Any]) -> list[str]:
    """One Markdown row a volume, then mean and worst."""
    volumes = results["volumes"]
    out = [
        "| volume | equal PSNR | equal maximum error | the same, peers rounded |",
        "|---|---|---|---|",
    ]
    for name in sorted(volumes):
        cells = " | ".join(f"{percent(volumes[name], g):+.1f} %" for g in GAMES)
        out.append(f"| {name} | {cells} |")
    for label, how in (("mean", lambda v: sum(v) / len(v)), ("worst", max)):
        cells = " | ".join(
            f"**{how([percent(v, g) for v in volumes.values()]):+.1f} %**" for g in GAMES
        )
        out.append(f"| **{label}** | {cells} |")
    return out


def main() -> None:
    """Print the table of a results file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--short", action="store_true", help="only mean and worst")
    args = parser.parse_args()
    lines = rows(json.loads(args.results.read_text()))
    print("\n".join([*lines[:2], *lines[-2:]] if args.short else lines))


if __name__ == "__main__":
    main()
