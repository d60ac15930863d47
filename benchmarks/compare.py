"""What changed between two runs of rate_distortion, volume by volume.

    python -m benchmarks.compare OLD.json NEW.json

The first two columns are BD-rates of the new curves to the old ones (negative: the new run needs
fewer bits), the others the BD-rates to the peers, old -> new. Encode and decode are the ratios of
total seconds, new over old; they mean something only on the same idle machine.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from benchmarks.bdrate import ERROR_RANGE, PSNR_RANGE, bd_rate
from benchmarks.curves import Record, asked_error_curve, psnr_curve
from benchmarks.records import load


def changes(old: Record, new: Record) -> dict[str, float]:
    """BD-rates of a volume's new curves to its old ones in percent, and the ratios of seconds."""
    psnr = bd_rate(psnr_curve(new["psnr"]), psnr_curve(old["psnr"]), PSNR_RANGE)
    error = bd_rate(
        asked_error_curve(new["error"], new),
        asked_error_curve(old["error"], old),
        ERROR_RANGE,
    )
    return {
        "psnr": psnr.percent,
        "error": error.percent,
        "encode": _seconds(new, "encode_s") / _seconds(old, "encode_s"),
        "decode": _seconds(new, "decode_s") / _seconds(old, "decode_s"),
    }


def _seconds(volume: Record, key: str) -> float:
    # Per point, so that runs with different targets can still be compared roughly.
    points = volume["psnr"] + volume["error"]
    return float(sum(point[key] for point in points) / len(points))


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:+.2f} %"


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _transition(old: Record, new: Record, game: str) -> str:
    before, after = old["bd"][game]["percent"], new["bd"][game]["percent"]
    return " -> ".join("-" if value is None else f"{value:+.1f}" for value in (before, after))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    old, new = load(options.old)["volumes"], load(options.new)["volumes"]
    common = sorted(set(old) & set(new))
    if not common:
        raise SystemExit("the two runs have no volume in common")
    heads = (
        "equal PSNR",
        "equal error",
        "to SPERR",
        "to SZ3/SPERR",
        "encode",
        "decode",
    )
    widths = (12, 12, 18, 18, 8, 8)
    print(f"{'volume':28}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True)))
    rows = {name: changes(old[name], new[name]) for name in common}
    for name, row in rows.items():
        cells = (
            _percent(row["psnr"]),
            _percent(row["error"]),
            _transition(old[name], new[name], "psnr"),
            _transition(old[name], new[name], "error"),
            f"{row['encode']:.2f}",
            f"{row['decode']:.2f}",
        )
        print(f"{name:28}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    for label, combine in (("mean", _mean), ("worst", _worst)):
        total = [_percent(combine([row[k] for row in rows.values()])) for k in ("psnr", "error")]
        print(f"{label:28}" + "".join(f"{c:>12}" for c in total))
    for name in sorted(set(old) ^ set(new)):
        print(f"only in {'old' if name in old else 'new'}: {name}")
    return 0


def _worst(values: list[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


if __name__ == "__main__":
    sys.exit(main())
