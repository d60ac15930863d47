"""One slice of a volume as volcodec and the best peer keep it at equal rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volcodec.bench import quality
from volcodec.bench.records import rounded

Record = dict[str, Any]
PSNR = 40.0  # dB, the rate of which is compared
_CLOSE = 0.02  # how near the peer's rate has to come
_TRIES = 10


def equal_rate(peer: Any, volume: NDArray[Any], size: int) -> tuple[bytes, NDArray[Any]]:
    """A file of the peer of at most ``size`` (1 + 2 %) bytes, as near to it as bisection comes.

    ``volume`` is (Z, Y, X). Returns the file and what it decodes to.
    """
    span = quality.value_range(volume)
    bounded = "max_error" in peer.targets
    fine, coarse = (-6.0, 0.5) if bounded else (120.0, 1.0)

    def encode(asked: float) -> bytes:
        if bounded:  # asked: log10 of the relative error
            return bytes(peer.encode(volume, "max_error", 10.0**asked * span, 1))
        return bytes(peer.encode(volume, "psnr", asked, 1))

    best: bytes | None = None
    for _ in range(_TRIES):
        middle = (fine + coarse) / 2
        blob = encode(middle)
        if len(blob) <= size * (1 + _CLOSE):
            best = blob if best is None or len(blob) > len(best) else best
            coarse = middle
            if len(blob) >= size * (1 - _CLOSE):
                break
        else:
            fine = middle
    if best is None:
        best = encode(coarse)
    return best, peer.decode(best, volume.shape, volume.dtype, 1)


def compare(
    codec: Any, own_name: str, peer: Any, volume: NDArray[Any], stem: str, folder: Path
) -> Record:
    """Write the pictures of one volume into ``folder``; returns the record of results."""
    from volcodec.bench.report import pictures

    whole = volume.reshape((1,) * (3 - volume.ndim) + volume.shape)
    span = quality.value_range(volume)
    blob = codec.encode(whole, psnr=PSNR, support="off", threads=1)
    ours = codec.decode(blob, threads=1)
    theirs, decoded = equal_rate(peer, whole, len(blob))
    shown = pictures.slices(whole, ours, decoded, stem, folder, span)

    def figures(name: str, size: int, result: NDArray[Any]) -> Record:
        loss = quality.measure(whole, np.asarray(result))
        return {
            "codec": name,
            "bpv": rounded(8 * size / volume.size, 4),
            "psnr": rounded(loss.psnr, 4),
            "max": rounded(loss.max_error / span, 4),
        }

    return {
        **shown,
        "ours": figures(own_name, len(blob), ours),
        "peer": figures(peer.name, len(theirs), decoded),
    }
