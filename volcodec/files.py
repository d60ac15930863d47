"""Compression between files: what does not fit in memory streams tile by tile."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from . import models
from .assembly import Totals
from .codec import DEFAULT_MODEL, check_device, host, options
from .container import CODINGS, Reader, Writer, describe
from .container.info import parse_attrs
from .decoder import Progress, VolumeDecoder
from .encoder import VolumeEncoder
from .errors import InputError
from .formats import create_sink, is_file, open_series
from .formats.atomic import atomic_output
from .formats.geometry import part_of
from .inspection import open_reader
from .remote import is_url, remote_output
from .targets import target
from .tiles import ArraySource, Source


@dataclass(frozen=True)
class Summary:
    """What a compression gave; sizes in bytes, errors in the units of the data, PSNR in dB."""

    raw_bytes: int
    file_bytes: int
    voxels: int
    seconds: float
    max_error: float
    psnr: float
    support: str
    codings: dict[str, int]

    @property
    def ratio(self) -> float:
        """Raw bytes / file bytes."""
        return self.raw_bytes / self.file_bytes


@contextmanager
def _output(dst: Any, force: bool) -> Iterator[BinaryIO]:
    if is_url(dst):
        with remote_output(dst, force) as file:
            yield file
    elif isinstance(dst, (str, os.PathLike)):
        with atomic_output(dst, force) as file:
            yield file
    elif is_file(dst) and dst.seekable() and dst.readable():
        yield dst
    else:
        raise InputError(
            "the output is a path, a URL or a seekable binary file opened to read and write "
            f'("w+b"), not {dst!r}'
        )


def _sources(
    item: Any, dataset: str | None, shape: Any, dtype: Any, stack: ExitStack
) -> list[Source]:
    """``item`` as frames to read box by box; opened files are closed by ``stack``."""
    if isinstance(item, (str, os.PathLike)) or is_file(item):
        found = open_series(item, dataset, shape, dtype)
        return [stack.enter_context(frame) for frame in found]
    if hasattr(item, "read"):
        return [item]
    return [ArraySource(host(item)[0])]


def compress(
    src: Any,
    dst: Any,
    *,
    dataset: str | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: Any = None,
    model: Any = DEFAULT_MODEL,
    max_error: float | None = None,
    rel_error: float | None = None,
    psnr: float | None = None,
    ratio: float | None = None,
    bits: float | None = None,
    lossless: bool = False,
    support: str = "auto",
    background: float = 0.0,
    effort: int = 5,
    fast: bool = False,
    tile: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    attrs: dict[str, Any] | None = None,
    embed_model: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Compress ``src`` to ``dst``: a path (written beside its place, then renamed), URL or file.

    ``src`` is a path, a binary file (HDF5 or .npy), an array, a tensor or anything with ``shape``,
    ``dtype`` and ``read(box)``; a list of them is the frames of one series, as a file of four
    dimensions is. ``shape`` and ``dtype`` say what a .raw or .bin file holds. ``dst``, where it is
    a file, is seekable and opened to read and write; to a URL the file is uploaded when it is
    finished. Targets and options as for ``Codec.encode``.
    InputError where the input or the target can't be honoured; an existing ``dst`` is refused
    without ``force``.
    """
    began = time.monotonic()
    check_device(device)
    loaded = model if isinstance(model, models.Model) else models.load(model)
    asked = target(
        max_error=max_error, rel_error=rel_error, psnr=psnr, ratio=ratio, bits=bits,
        lossless=lossless,
    )  # fmt: skip
    with ExitStack() as stack:
        items = src if isinstance(src, (list, tuple)) else [src]
        frames = [f for item in items for f in _sources(item, dataset, shape, dtype, stack)]
        if not frames:
            raise InputError("there is nothing to compress: no input was given")
        name = dataset or getattr(frames[0], "name", "") or ""
        chosen = options(
            support=support, background=background, effort=effort, fast=fast, tile=tile,
            threads=threads, attrs=getattr(frames[0], "attrs", None) if attrs is None else attrs,
            dataset=name, embed_model=embed_model,
        )  # fmt: skip
        out = stack.enter_context(_output(dst, force))
        encoder = VolumeEncoder(frames, loaded, asked, chosen, progress)
        return _write(encoder, out, loaded.data if embed_model else None, began)


def _write(encoder: VolumeEncoder, out: BinaryIO, embedded: bytes | None, began: float) -> Summary:
    settings = None if encoder.small else encoder.single_pass()
    if settings is not None:
        tiles: Any = encoder.tiles(settings)
        header = encoder.header(settings, [Totals(needs_model=True)])
    else:
        header, tiles = encoder.encode()
    writer = Writer(out, header, model_bytes=embedded if header.model_sha256 else None)
    totals = Totals()
    codings: Counter[str] = Counter()
    for t in tiles:
        writer.write_tile(t.coding, t.flags, t.streams)
        totals.add(t)
        codings[CODINGS[t.coding]] += 1
    if settings is not None:
        header = encoder.header(settings, [totals])
    size = writer.finish(header)
    info = describe(Reader(out))
    return Summary(
        info.raw_size, size, header.voxels, time.monotonic() - began, header.max_error, info.psnr,
        header.support, dict(codings),
    )  # fmt: skip


def decompress(
    src: Any,
    dst: Any,
    *,
    dataset: str | None = None,
    model: Any = None,
    region: Any = None,
    level: int = 0,
    frame: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    on_damage: str = "raise",
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Decompress a .vc (path, URL, bytes or binary file) to a volume file, tile by tile.

    ``dst`` is a path whose suffix names the format (an existing one is refused without
    ``force``) or a seekable binary file, to which a .npy is written. Several frames become the
    first axis unless ``frame`` names one.
    """
    check_device(device)
    if is_url(dst):
        raise InputError(f"{dst}: a volume is written to a path or a file object, not to a URL")
    with open_reader(src) as reader:
        decoder = VolumeDecoder(reader, model, threads)
        frames = decoder.frame_of(frame)
        where = decoder.region(region, level)
        shape = decoder.user_shape(tuple(s.stop - s.start for s in where))
        series = frame is None and len(frames) > 1
        full = (len(frames), *shape) if series else shape
        if 0 in full:
            raise InputError(f"the region is empty: its shape is {full}")
        name = dataset or reader.header.dataset_name
        start = tuple(s.start for s in where)
        attrs = part_of(parse_attrs(reader.header.attrs), start, level, decoder.header.ndim)
        decoder.coder()
        sink = create_sink(dst, full, decoder.dtype, name, attrs, force)
        with sink:
            for i, index in enumerate(frames):

                def write(box: Any, values: np.ndarray, i: int = i) -> None:
                    values = values if decoder.header.ndim == 3 else values[0]
                    box = box if decoder.header.ndim == 3 else box[1:]
                    if series:
                        values, box = values[None], (slice(i, i + 1), *box)
                    sink.write(box, values.astype(decoder.dtype, copy=False))

                decoder.read(index, where, level, write, on_damage, progress)
