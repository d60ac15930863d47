"""Verification: checksums and structure of a file and, beside the original, its promise."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .container import Info, describe
from .decoder import Progress, VolumeDecoder
from .errors import FormatError, InputError
from .formats import open_series
from .formats.base import Source as FileSource
from .inspection import open_reader
from .tiles import ArraySource, Source, box_shape


@dataclass
class Report:
    """What a verification found.

    ok: nothing is wrong; problems: what is, one line each; damaged: numbers of damaged tiles;
    promise: the target in words; kept: whether the promise holds (None without the original);
    max_error, psnr, support_iou: measured beside the original.
    """

    ok: bool = True
    problems: list[str] = field(default_factory=list)
    tiles: int = 0
    damaged: list[int] = field(default_factory=list)
    promise: str = ""
    kept: bool | None = None
    max_error: float | None = None
    psnr: float | None = None
    support_iou: float | None = None


class _Measure:
    """Collects errors over tiles."""

    def __init__(self, scale: float) -> None:
        self.scale = scale  # errors are divided by it before they are squared
        self.largest = 0.0
        self.square = 0.0
        self.finite = 0
        self.low, self.high = math.inf, -math.inf
        self.inter = self.union = 0
        self.specials = True
        self.bits = True

    def add(self, a: np.ndarray, b: np.ndarray, background: float) -> None:
        if a.dtype.kind == "f":
            ok = np.isfinite(a)
            same = np.array_equal(np.isnan(a), np.isnan(b)) and np.array_equal(
                a[np.isinf(a)], b[np.isinf(a)]
            )
            self.specials &= same and bool(np.isfinite(b[ok]).all())
            x, y = a[ok].astype(np.float64), b[ok].astype(np.float64)
        else:
            x, y = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
        if x.size:
            error = np.abs(x - y)
            self.largest = max(self.largest, float(error.max()))
            error /= self.scale
            self.square += float(np.dot(error, error))
            self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))
        self.finite += x.size
        p, q = a != a.dtype.type(background), b != b.dtype.type(background)
        self.inter += int(np.count_nonzero(p & q))
        self.union += int(np.count_nonzero(p | q))
        self.bits &= a.tobytes() == b.tobytes()


def promise(info: Info) -> str:
    """The target of a file in words."""
    value = "" if info.target == "lossless" else f" {info.target_value:g}"
    return f"{info.target}{value}, support {info.support}"


def verify(
    src: Any,
    *,
    against: Any = None,
    dataset: str | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: Any = None,
    model: Any = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check a .vc (path, URL, bytes or file): every checksum and, ``against`` the original (a path,
    an array, or a list for a series), every promise the file makes. ``shape`` and ``dtype`` say
    what a .raw or .bin original holds. FormatError where not even the front can be read.
    """
    with ExitStack() as stack:
        reader = stack.enter_context(open_reader(src))
        report = Report(tiles=reader.header.tiles)
        info = describe(reader)
        report.promise = promise(info)
        for tile in range(reader.header.tiles):
            try:
                reader.streams(tile, 0, reader.header.streams)
            except FormatError as error:
                report.damaged.append(tile)
                report.problems.append(str(error))
        try:
            reader.check_length()
        except FormatError as error:
            report.problems.append(str(error))
        if against is None or report.problems:
            report.ok = not report.problems
            return report
        decoder = VolumeDecoder(reader, model, threads)
        originals: list[Source] = []
        for item in against if isinstance(against, (list, tuple)) else [against]:
            if isinstance(item, (str, os.PathLike)):
                found = _open(item, dataset, reader.header.dataset_name, shape, dtype)
                originals += [stack.enter_context(frame) for frame in found]
            else:
                originals.append(ArraySource(np.asarray(item)))
        _compare(decoder, originals, report, progress)
    report.ok = not report.problems
    return report


def _open(
    path: str | os.PathLike[str], dataset: str | None, recorded: str, shape: Any, dtype: Any
) -> list[FileSource]:
    """The frames in ``path``: where no dataset is named those of the one that was compressed.

    If ``path`` has no such dataset, its only one.
    """
    if dataset is None:
        try:
            return open_series(path, recorded, shape, dtype)
        except InputError:
            pass
    return open_series(path, dataset, shape, dtype)


def _compare(
    decoder: VolumeDecoder, originals: list[Source], report: Report, progress: Progress | None
) -> None:
    h = decoder.header
    expected = decoder.user_shape(h.shape)
    if len(originals) != h.frames:
        raise InputError(f"the file holds {h.frames} frames, {len(originals)} originals were given")
    measure = _Measure(h.value_range if 0 < h.value_range < math.inf else 1.0)
    native = decoder.settings.mapping.dtype
    for frame, original in enumerate(originals):
        if tuple(original.shape) != expected or np.dtype(original.dtype) != decoder.dtype:
            report.problems.append(
                f"the original is {original.dtype} {tuple(original.shape)}, "
                f"the file holds {decoder.dtype} {expected}"
            )
            report.kept = False
            return

        def check(box: Any, values: np.ndarray, original: Source = original) -> None:
            a = np.asarray(original.read(box if h.ndim == 3 else box[1:]), dtype=native)
            measure.add(a.reshape(box_shape(box)), values, h.background)

        try:
            decoder.read(frame, decoder.region(None, 0), 0, check, "raise", progress)
        except FormatError as error:  # its checksum holds: it was written wrong
            report.problems.append(str(error))
            report.kept = False
            return
    spread = measure.high - measure.low if measure.finite else 0.0
    mse = measure.square / measure.finite if measure.finite else 0.0
    report.max_error = measure.largest
    report.psnr = math.inf
    if mse > 0:
        peak = spread / measure.scale
        report.psnr = 20 * math.log10(peak) - 10 * math.log10(mse) if peak else -math.inf
    report.support_iou = measure.inter / measure.union if measure.union else 1.0
    report.problems += _broken(decoder, measure, report, spread)
    report.kept = not report.problems


def _broken(decoder: VolumeDecoder, measure: _Measure, report: Report, spread: float) -> list[str]:
    h = decoder.header
    out = []
    assert report.psnr is not None
    bound = {"max_error": h.target_value, "rel_error": h.target_value * spread}.get(h.target)
    if bound is not None and measure.largest > bound:
        out.append(f"the error reaches {measure.largest:g}, the bound is {bound:g}")
    if h.target == "lossless" and not measure.bits:
        out.append("the bits differ from the original's")
    if h.target == "psnr" and report.psnr < h.target_value:
        out.append(f"the PSNR is {report.psnr:.3f} dB, {h.target_value:g} was promised")
    size = decoder.reader.expected_size
    if h.target == "ratio" and h.raw_size / size < h.target_value:
        out.append(f"the ratio is {h.raw_size / size:g}, {h.target_value:g} was promised")
    if h.target == "bits" and 8 * size / h.voxels > h.target_value:
        out.append(f"{8 * size / h.voxels:g} bits a voxel, {h.target_value:g} were promised")
    if not measure.specials:
        out.append("NaN or infinities are not where they were")
    if h.support == "exact" and report.support_iou != 1:
        out.append(f"the support differs: IoU {report.support_iou:g}")
    return out
