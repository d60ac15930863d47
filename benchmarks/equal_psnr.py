"""Sizes of `--fast` beside SPERR's at equal PSNR, SPERR in whichever of its modes is smaller.

Asked for a PSNR SPERR keeps more, up to 12 dB where much is empty; under a bound it spends bytes on
outliers. So both modes are tried, and what is asked of them is sought by bisection: the least for
which the PSNR is ours at least.

Part of `benchmarks/speed.py`: `--only psnr`.
"""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from volcodec.bench import peers, quality
from volcodec.bench.records import rounded
from volcodec.bench.volumes import Measured

Record = dict[str, Any]
PSNRS = (40.0, 50.0, 60.0)
_STEPS = 12  # of a bisection
# what is asked at most and at least: dB beside our PSNR, shares of the range (their logarithms)
_MODES = {"psnr": (-20.0, 2.0), "max_error": (math.log(0.5), math.log(1e-6))}


def measure(volume: Measured) -> list[Record]:
    """A row for each PSNR: bytes and PSNR of both."""
    import volcodec

    values = volume.load()
    codec = volcodec.Codec()
    rows = []
    for asked in PSNRS:
        blob = codec.encode(values, psnr=asked, fast=True)
        ours = quality.measure(values, codec.decode(blob)).psnr
        found = [sperr for mode in _MODES if (sperr := _least(values, mode, ours)) is not None]
        if found:
            size, theirs, mode = min(found)
            row = {
                "volume": volume.name,
                "asked": asked,
                "bytes": len(blob),
                "psnr": rounded(ours, 4),
                "sperr_mode": mode,
                "sperr_bytes": size,
                "sperr_psnr": rounded(theirs, 4),
                "smaller": rounded(1 - len(blob) / size, 3),
            }
            rows.append(row)
    return rows


def _least(values: NDArray[Any], mode: str, psnr: float) -> tuple[int, float, str] | None:
    """Bytes of SPERR's smallest file found that has the PSNR, its PSNR, the mode."""
    sperr = peers.named("sperr")
    spread = quality.value_range(values)
    coarse, fine = _MODES[mode]
    best: tuple[int, float, str] | None = None
    for _ in range(_STEPS):
        middle = (coarse + fine) / 2
        request = psnr + middle if mode == "psnr" else math.exp(middle) * spread
        blob = sperr.encode(values, mode, request, 1)
        found = quality.measure(values, sperr.decode(blob, values.shape, values.dtype, 1)).psnr
        if found >= psnr:
            coarser = (len(blob), found, mode)
            fine, best = middle, coarser if best is None else min(best, coarser)
        else:
            coarse = middle
    return best
