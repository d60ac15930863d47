"""What changed between two studies of `volcodec bench`, volume by volume.

    python -m benchmarks.compare OLD.json NEW.json

The first two columns are BD-rates of the new curves to the old ones (negative: the new study needs
fewer bits), then the BD-rates to the best peer, old -> new, and the lossless bytes. Encode and
decode are the ratios of seconds a point, new over old; they mean something only on the same
machine with as many jobs. Volumes are sorted by what they lost or won; rows marked `!` lost.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from volcodec.bench.bdrate import ERROR_RANGE, PSNR_RANGE, bd_rate
from volcodec.bench.games import BEST, asked_error_curve, psnr_curve
from volcodec.bench.records import load

Record = dict[str, Any]
LOST = 0.05  # percent above which a row is marked


def changes(old: Record, new: Record, codec: str) -> dict[str, float]:
    """BD-rates of a volume's new curves to its old ones in percent; ratios of bytes and seconds."""
    before, after = old["points"][codec], new["points"][codec]
    psnr = bd_rate(psnr_curve(after), psnr_curve(before), PSNR_RANGE)
    error = bd_rate(asked_error_curve(after, new), asked_error_curve(before, old), ERROR_RANGE)
    lossless = [volume["lossless"].get(codec, math.nan) for volume in (new, old)]
    return {
        "psnr": psnr.percent,
        "error": error.percent,
        "lossless": 100 * (lossless[0] / lossless[1] - 1),
        "encode": _seconds(after, "encode_s") / _seconds(before, "encode_s"),
        "decode": _seconds(after, "decode_s") / _seconds(before, "decode_s"),
    }


def _seconds(points: list[Record], key: str) -> float:
    # Per point, so that studies with different targets can still be compared roughly.
    return max(sum(point[key] for point in points) / len(points), 1e-4)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f} %"


def _to_best(volume: Record, game: str, codec: str) -> str:
    value = volume["bd"][game].get(codec, {}).get(BEST, {}).get("percent")
    return "-" if value is None else f"{value:+.1f}"


def _known(values: list[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _mean(values: list[float]) -> float:
    known = _known(values)
    return sum(known) / len(known) if known else math.nan


def _worst(values: list[float]) -> float:
    return max(_known(values), default=math.nan)


def lines(old: Record, new: Record, codec: str) -> list[str]:
    """The table as text."""
    common = [
        name
        for name in sorted(set(old) & set(new))
        if codec in old[name]["points"] and codec in new[name]["points"]
    ]
    if not common:
        raise SystemExit(f"the two studies have no volume with points of {codec} in common")
    rows = {name: changes(old[name], new[name], codec) for name in common}
    wide = max(len(name) for name in [*common, "volume"]) + 2
    heads = ("equal PSNR", "equal error", "lossless", "to best, PSNR", "to best, error",
             "encode", "decode")  # fmt: skip
    widths = (12, 13, 11, 18, 18, 8, 8)
    out = [
        f"  {'volume':{wide}}" + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True))
    ]
    order = sorted(rows, key=lambda n: -_mean([rows[n]["psnr"], rows[n]["error"]]))
    for name in order:
        row = rows[name]
        moves = [
            " -> ".join(_to_best(study[name], game, codec) for study in (old, new))
            for game in ("psnr", "error")
        ]
        cells = (
            _percent(row["psnr"]), _percent(row["error"]), _percent(row["lossless"]), *moves,
            f"x {row['encode']:.2f}", f"x {row['decode']:.2f}",
        )  # fmt: skip
        mark = "!" if max(_known([row["psnr"], row["error"]]), default=0) > LOST else " "
        text = "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))
        out.append(f"{mark} {name:{wide}}{text}")
    for label, combine in (("mean", _mean), ("worst", _worst)):
        totals = [combine([r[k] for r in rows.values()]) for k in ("psnr", "error", "lossless")]
        text = "".join(f"{_percent(t):>{w}}" for t, w in zip(totals, widths, strict=False))
        out.append(f"  {label:{wide}}{text}")
    out += [
        f"only in {'the old' if name in old else 'the new'} study: {name}"
        for name in sorted(set(old) ^ set(new))
    ]
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--codec", default="volcodec", help="which codec of the studies")
    options = parser.parse_args()
    studies = [load(path)["volumes"] for path in (options.old, options.new)]
    print("\n".join(lines(studies[0], studies[1], options.codec)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
