"""Prints the README's tables from the committed study, as Markdown.

python -m benchmarks.tables benchmarks/results/test.json [--all]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from volcodec.bench.games import BEST
from volcodec.bench.records import load

Record = dict[str, Any]
OURS = "volcodec"
PEERS = ("sperr", "sz3", "zfp", BEST)
GAMES = {"psnr": "equal PSNR", "error": "equal maximum error"}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f} %"


def _title(results: Record, codec: str) -> str:
    return "the best of them" if codec == BEST else str(results["codecs"][codec]["title"])


def rate(results: Record) -> list[str]:
    """Mean and worst BD-rate of each game against each peer."""
    out = [
        "| bytes against | equal PSNR: mean | worst | equal maximum error: mean | worst |",
        "|---|---|---|---|---|",
    ]
    for peer in PEERS:
        cells = []
        for game in GAMES:
            total = results["summary"][game][OURS].get(peer, {})
            cells += [_percent(total.get("mean")), _percent(total.get("worst"))]
        out.append(f"| {_title(results, peer)} | {' | '.join(cells)} |")
    return out


def speed(results: Record) -> list[str]:
    """MB/s each way of the codecs with a bound, one thread and all, by volume."""
    rows = [r for r in results["throughput"] if r.get("target") == "max_error"]
    out = ["| volume | codec | threads | encode MB/s | decode MB/s |", "|---|---|---|---|---|"]
    for row in rows:
        title = _title(results, row["codec"])
        cells = [row["volume"], title, row["threads"], row["encode_mb_s"], row["decode_mb_s"]]
        out.append(f"| {' | '.join(map(str, cells))} |")
    return out


def volumes(results: Record) -> list[str]:
    """Each volume's BD-rates to SPERR at equal PSNR and to the best at equal maximum error."""
    out = ["| volume | equal PSNR, SPERR | equal maximum error, best |", "|---|---|---|"]
    for name, volume in sorted(results["volumes"].items()):
        cells = [
            _percent(volume["bd"][game].get(OURS, {}).get(peer, {}).get("percent"))
            for game, peer in (("psnr", "sperr"), ("error", BEST))
        ]
        out.append(f"| {name} | {' | '.join(cells)} |")
    return out


def main() -> None:
    """Print the tables of a results file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--all", action="store_true", help="each volume and the speeds as well")
    options = parser.parse_args()
    results = load(options.results)
    parts = [rate(results)]
    if options.all:
        parts += [volumes(results), speed(results)]
    print("\n\n".join("\n".join(part) for part in parts))


if __name__ == "__main__":
    main()
