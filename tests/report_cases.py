"""Results of a study that never was: what the tests of its report share."""

from __future__ import annotations

import math
from typing import Any

Record = dict[str, Any]

STRANGE = "<b>&\"'{{7}}"
REASON = 'no program `tthresh` on the "PATH" <here>'
PERCENTS: dict[str, tuple[float | None, float | None]] = {
    "brain": (-20.0, -30.0),
    "cube": (4.5, -8.0),
    STRANGE: (-3.0, None),
}


def _point(target: str, asked: float | None, bpv: float, psnr: float | None) -> Record:
    error = 0.0 if psnr is None else 10 ** (-psnr / 20)
    return {
        "target": target, "asked": asked, "bytes": int(bpv * 1000), "bpv": bpv, "max": error,
        "psnr": psnr, "ssim": None, "iou": 0.9, "zeros_kept": 0.5, "mass_error": 1e-5,
        "encode_s": 0.1, "decode_s": None,
    }  # fmt: skip


def curve(factor: float) -> list[Record]:
    """Points of a codec that needs `factor` bits per voxel at 40 dB."""
    psnr = [_point("psnr", d, factor * 2 ** ((d - 40) / 6), d) for d in (30.0, 45.0, 60.0)]
    error = [_point("max_error", e, factor / e / 1e3, -20 * math.log10(e)) for e in (1e-2, 1e-3)]
    return [*psnr, *error]


def _bd(percent: float | None) -> Record:
    found = None if percent is None else 0.9
    return {"percent": percent, "low": 35.0, "high": 65.0, "coverage": found}


def _volume(name: str) -> Record:
    psnr, error = PERCENTS[name]
    points = {"volcodec": [*curve(0.3), _point("lossless", None, 4.0, None)], "sperr": curve(0.4)}
    bd = {
        game: {"volcodec": {"sperr": _bd(value), "best": _bd(value)}}
        for game, value in (("psnr", psnr), ("error", error), ("psnr_native", psnr))
    }
    return {
        "shape": [20, 30, 40], "dtype": "uint8", "range": 255.0, "raw_bytes": 24000, "zeros": 0.4,
        "finite": 1.0, "group": "MRI", "points": points,
        "refused": {"jpeg2k": "takes integers only"}, "failed": {}, "bd": bd,
        "lossless": {"volcodec": 12000}, "slices": None,
    }  # fmt: skip


def _speed(threads: int) -> Record:
    return {
        "volume": "brain", "codec": "sperr", "threads": threads, "target": "max_error",
        "asked": 0.001, "raw_mb": 3.0, "bytes": 12345, "encode_mb_s": 35.1, "decode_mb_s": None,
        "startup_s": 0.4, "peak_mb": 220.0, "repeats": 3, "residence": "host",
    }  # fmt: skip


def results() -> Record:
    """Three volumes (one lost, one with a strange name), four codecs (one missing, one refused)."""
    codecs = {
        "volcodec": {"title": "volcodec 0.1.0 (density-1)", "family": "volcodec", "missing": None},
        "sperr": {"title": "SPERR <0.8>", "family": "error-bounded", "missing": None},
        "tthresh": {"title": "TTHRESH", "family": "error-bounded", "missing": REASON},
        "jpeg2k": {"title": "JPEG 2000", "family": "slices", "missing": None},
    }
    summary = {"psnr": {"volcodec": {"best": {"mean": -6.2, "volumes": 3, "won": 2}}}}
    return {
        "format": 1,
        "conditions": {
            "command": "volcodec bench 'a<b' -o report", "volcodec": "0.1.0", "commit": "abc1234+",
            "versions": {"python": "3.11.2"}, "cpu": "A <CPU>", "cores": 2, "gpu": None,
            "quick": True, "support": "off", "models": [],
        },
        "codecs": codecs,
        "volumes": {name: _volume(name) for name in PERCENTS},
        "summary": summary,
        "throughput": [_speed(1), _speed(2)],
    }  # fmt: skip
