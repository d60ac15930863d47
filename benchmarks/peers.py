"""The peers (SPERR, SZ3, ZFP) as three small adapters over imagecodecs.

They are given float32 volumes in C order, one thread, no chunking. What each promises, as measured
here: SPERR's `pwe` mode and SZ3's `abs` mode keep the bound and come close to it; ZFP's fixed
accuracy stays 3 to 10 times under it; SPERR's `psnr` mode picks its step from an estimate and ends
some dB above the target, so PSNR is always measured, never taken from what was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Peer:
    """A codec with an absolute error bound and, where it has one, a PSNR target in dB."""

    name: str
    encode_bound: Callable[[Volume, float], bytes]
    decode: Callable[[bytes, tuple[int, ...]], Volume]
    encode_psnr: Callable[[Volume, float], bytes] | None = None


def as_peer_input(volume: NDArray[Any]) -> Volume:
    """The volume as the peers are given it: float32, C order, 3-D.

    Raises ValueError for values that float32 can't hold exactly or that are not finite: a peer
    would then be measured on another volume than volcodec.
    """
    converted = np.ascontiguousarray(volume, dtype=np.float32)
    if not np.isfinite(converted).all():
        raise ValueError("the peers take finite values only")
    if not np.array_equal(converted.astype(np.float64), volume.astype(np.float64)):
        raise ValueError(f"float32 does not hold these {volume.dtype} values exactly")
    return converted.reshape((1,) * (3 - converted.ndim) + converted.shape)


def _sperr_bound(volume: Volume, bound: float) -> bytes:
    return bytes(imagecodecs.sperr_encode(volume, bound, "pwe", numthreads=1))


def _sperr_psnr(volume: Volume, target: float) -> bytes:
    return bytes(imagecodecs.sperr_encode(volume, target, "psnr", numthreads=1))


def _sperr_decode(blob: bytes, shape: tuple[int, ...]) -> Volume:
    return imagecodecs.sperr_decode(blob, numthreads=1).reshape(shape)


def _sz3_bound(volume: Volume, bound: float) -> bytes:
    return bytes(imagecodecs.sz3_encode(volume, mode="abs", abs=bound))


def _sz3_decode(blob: bytes, shape: tuple[int, ...]) -> Volume:
    return imagecodecs.sz3_decode(blob, shape, np.float32)


def _zfp_bound(volume: Volume, bound: float) -> bytes:
    mode = imagecodecs.ZFP.MODE.FIXED_ACCURACY
    # The level of this mode is a float tolerance; the stub of imagecodecs only knows the integers.
    level: Any = bound
    return bytes(imagecodecs.zfp_encode(volume, level, mode=mode, numthreads=1))


def _zfp_decode(blob: bytes, shape: tuple[int, ...]) -> Volume:
    return imagecodecs.zfp_decode(blob, numthreads=1).reshape(shape)


SPERR = Peer("sperr", _sperr_bound, _sperr_decode, _sperr_psnr)
SZ3 = Peer("sz3", _sz3_bound, _sz3_decode)
ZFP = Peer("zfp", _zfp_bound, _zfp_decode)
PEERS = (SPERR, SZ3, ZFP)
