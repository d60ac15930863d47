"""Damaged and hostile files: how they are made, and what reading them may end in.

    python tests/mutations.py --count 10000 --seed 0

makes that many files, reads each, prints a summary as JSON, and fails where reading one raised
anything but FormatError (or ModelError for a model that is not at hand), gave a wrong value of a
tile that was left alone, took longer than ten seconds or much more memory than a clean file.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import resource
import sys
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
from model_cases import coded_by, tiny_model, tiny_neural, tiny_unet
from volumes import blobs, checkerboard, third_nan, waves

import volcodec
from volcodec import models
from volcodec.container import CODINGS, DOMAINS, DTYPES, Header, Reader, TileEntry, pack
from volcodec.tiles import boxes

MEMORY = 256 << 20  # what a hostile file may take beyond a clean one
SECONDS = 10.0
TRACED = 4  # one file of so many has its memory traced, which takes ten times as long


@dataclass(frozen=True)
class Clean:
    """A file as it was written: its bytes, its parts and what it decodes to."""

    name: str
    blob: bytes
    header: Header
    tiles: list[tuple[int, int, list[bytes]]]
    model: bytes | None
    values: np.ndarray

    @classmethod
    def of(cls, name: str, blob: bytes) -> Clean:
        reader = Reader(blob)
        h = reader.header
        tiles = [
            (entry.coding, entry.flags, reader.streams(i, 0, h.streams))
            for i, entry in enumerate(reader.index)
        ]
        return cls(name, blob, h, tiles, reader.model_bytes(), volcodec.decode(blob, threads=1))


@lru_cache(maxsize=1)
def clean_files() -> tuple[Clean, ...]:
    """Small files of every coding, with masks, specials, corrections, and an embedded model."""
    smooth = blobs((13, 17, 11), "damage", zeros=False)
    masked = blobs((13, 17, 11), "masked")
    volumes: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "real": (smooth.astype(np.float32), {"rel_error": 1e-2}),
        "masked": (masked.astype(np.float64), {"rel_error": 3e-3, "support": "exact"}),
        "coarse": (masked.astype(np.float32), {"psnr": 30.0}),
        "specials": (third_nan()[:, :12, :12], {"rel_error": 1e-2}),
        "integers": (np.rint(900 * masked).astype(np.int16), {"lossless": True}),
        "nearly": (np.rint(90 * smooth).astype(np.uint8), {"max_error": 2, "support": "exact"}),
        "bits": (smooth.astype(np.float32), {"lossless": True}),
        "half": (smooth.astype(np.float16), {"lossless": True}),
        "board": (checkerboard(), {"lossless": True}),
        "flat": (np.full((9, 9, 9), 3, np.uint32), {"lossless": True}),
        "waves": (waves((9, 17, 18)), {"psnr": 20.0, "tile": 18}),
        "adaptive": (masked.astype(np.float32), {"rel_error": 1e-3, "effort": 9}),
        "adaptive symbols": (smooth.astype(np.float32), {"psnr": 45.0, "effort": 9}),
        "slice": (smooth[:, :, 0].astype(">f4"), {"rel_error": 1e-3}),
    }
    files = [
        Clean.of(name, volcodec.encode(v, threads=1, **{"tile": 8, **o}))
        for name, (v, o) in volumes.items()
    ]
    own = volcodec.Codec(models.read(tiny_model(), "tiny"))
    embedded = own.encode(volumes["real"][0], tile=8, rel_error=0.05, embed_model=True)
    based = volcodec.Codec(models.read(tiny_unet(), "tiny-unet"))
    with coded_by("unet"):
        unet = based.encode(volumes["real"][0], tile=8, rel_error=0.05, embed_model=True)
    predicting = volcodec.Codec(models.read(tiny_neural(), "tiny-neural"))
    with coded_by("neural"):
        neural = predicting.encode(masked.astype(np.float32), rel_error=1e-2, embed_model=True)
    series = io.BytesIO()
    frames = [(smooth * (1 + 0.01 * i)).astype(np.float32) for i in range(3)]
    volcodec.compress(frames, series, threads=1, tile=8, rel_error=3e-3)
    return (
        *files, Clean.of("series", series.getvalue()), Clean.of("embedded", embedded),
        Clean.of("unet", unet), Clean.of("neural", neural),
    )  # fmt: skip


def repacked(
    clean: Clean,
    header: Header | None = None,
    tiles: list[tuple[int, int, list[bytes]]] | None = None,
    model: bytes | None = None,
) -> bytes:
    """The file with other parts and right checksums."""
    tiles = clean.tiles if tiles is None else tiles
    header = replace(clean.header if header is None else header, model_length=0, gap=0)
    entries = [TileEntry.of(*tile) for tile in tiles]
    return pack(
        header, entries, [s for t in tiles for s in t[2]], clean.model if model is None else model
    )


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Bytes with a few of them changed, cut off, doubled, moved or put in."""
    out = bytearray(data)
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(0, len(out) + 1))
        n = int(random.integers(1, 9))
        match int(random.integers(0, 7)):
            case 0:
                del out[at:]
            case 1:
                del out[at : at + n]
            case 2:
                out[at:at] = random.bytes(n)
            case 3:
                out[at : at + n] = bytes([int(random.choice([0, 255, 127]))]) * n
            case 4:
                out[at:at] = out[max(0, at - n) : at]
            case _ if out:
                out[at % len(out)] ^= 1 << int(random.integers(0, 8))
    return bytes(out)


Made = tuple[bytes, set[int] | None]  # a file, and the tiles touched (None: perhaps all)


def any_bytes(clean: Clean, random: np.random.Generator) -> Made:
    """Changes anywhere, checksums left as they are."""
    blob = mutated(clean.blob, random)
    return blob, None


def streams(clean: Clean, random: np.random.Generator) -> Made:
    """A stream with other bytes and the right checksum."""
    tile = int(random.integers(0, len(clean.tiles)))
    coding, flags, old = clean.tiles[tile]
    new = list(old)
    filled = [i for i, s in enumerate(old) if s] or [2]
    at = int(random.choice(filled))
    other = clean.tiles[int(random.integers(0, len(clean.tiles)))][2]
    match int(random.integers(0, 6)):
        case 0:
            new[at] = random.bytes(int(random.integers(0, 200)))
        case 1:
            new[int(random.integers(0, len(new)))] = other[int(random.integers(0, len(new)))]
        case 2:
            new = list(other)
        case _:
            new[at] = mutated(old[at], random)
    tiles = list(clean.tiles)
    tiles[tile] = (coding, flags, new)
    return repacked(clean, tiles=tiles), {tile}


def codings(clean: Clean, random: np.random.Generator) -> Made:
    """A tile that claims another coding, other flags, or the streams of a neighbour."""
    tile = int(random.integers(0, len(clean.tiles)))
    coding, flags, data = clean.tiles[tile]
    tiles = list(clean.tiles)
    if random.random() < 0.7:
        coding = int(random.integers(0, len(CODINGS)))
    if random.random() < 0.3:
        flags = int(random.integers(0, 256))
    tiles[tile] = (coding, flags, data)
    return repacked(clean, tiles=tiles), {tile}


NUMBERS = (0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, 5e-324, 1.7e308, -1e308, 3.0, 255.0, 1e9, 2.0**-20)


def headers(clean: Clean, random: np.random.Generator) -> Made:
    """A header that claims something else, its checksum right; None of it need be possible."""
    changes: dict[str, Any] = {}
    names = [f.name for f in fields(Header)]
    for name in random.choice(names, int(random.integers(1, 4)), replace=False):
        old = getattr(clean.header, name)
        if name in ("model_length", "gap", "model_name", "attrs", "extra", "dataset"):
            continue
        if name == "dtype":
            changes[name] = str(random.choice(DTYPES))
        elif name == "domain":
            changes[name] = str(random.choice(DOMAINS))
        elif name == "support":
            changes[name] = str(random.choice(["off", "exact"]))
        elif name == "swapped":
            changes[name] = not old
        elif name == "model_sha256":
            changes[name] = random.bytes(32) if random.random() < 0.5 else b""
        elif name in ("shape", "tile"):
            shift = random.integers(-2, 3, 3)
            changes[name] = tuple(max(1, int(n + d)) for n, d in zip(old, shift, strict=True))
        elif isinstance(old, float):
            changes[name] = float(random.choice(NUMBERS))
        elif isinstance(old, int):
            changes[name] = int(random.integers(0, 16))
    try:
        return repacked(clean, header=replace(clean.header, **changes)), None
    except (volcodec.VolcodecError, ValueError, OverflowError):
        return clean.blob, set()


def embedded_models(clean: Clean, random: np.random.Generator) -> Made:
    """A model inside the file that is another one, its identity and checksum right."""
    if clean.model is None:
        return any_bytes(clean, random)
    model = bytearray(clean.model)
    head = 8 + int.from_bytes(model[:8], "little")
    place = int(random.integers(0, 3))
    for _ in range(int(random.integers(1, 30))):
        at = int(random.integers(head, len(model)) if place else random.integers(0, head))
        model[at] = int(random.integers(0, 256))
    if place == 2:
        model = model[: int(random.integers(0, len(model)))]
    if not model:
        return clean.blob, set()
    header = replace(clean.header, model_sha256=hashlib.sha256(model).digest()[:16])
    return repacked(clean, header=header, model=bytes(model)), None


KINDS: dict[str, Callable[[Clean, np.random.Generator], Made]] = {
    f.__name__: f for f in (any_bytes, streams, codings, headers, embedded_models)
}


def wrong(clean: Clean, blob: bytes, touched: set[int] | None) -> tuple[str, str]:
    """What reading ends in, and what is wrong with that ("" for nothing)."""
    limit = 4 * clean.values.nbytes + 4096
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = volcodec.decode(blob, threads=1, on_damage="fill", max_bytes=limit)
            volcodec.decode(blob, threads=1, level=1, on_damage="fill", max_bytes=limit)
    except (volcodec.FormatError, volcodec.ModelError, volcodec.InputError) as error:
        told = type(error).__name__
        if isinstance(error, volcodec.InputError):
            return told, "" if "levels" in str(error) else str(error)
        return told, "" if touched is None else f"{told}: {error}"
    except Exception as error:  # whatever is raised is what is looked for
        return type(error).__name__, "".join(traceback.format_exception(error)[-3:])
    info = volcodec.inspect(blob)
    frames = (info.frames,) if info.frames > 1 else ()
    if found.shape != (*frames, *info.shape) or found.dtype.name != info.dtype:
        return "decoded", f"{found.dtype} {found.shape} for {info.dtype} {info.shape}"
    if touched is not None:
        h = clean.header
        series, original = (a.reshape(h.frames, *h.shape) for a in (found, clean.values))
        places = list(boxes(h.shape, h.tile))
        for tile in range(h.tiles):
            frame, place = divmod(tile, len(places))
            before = {place + f * len(places) for f in range(frame + 1)}
            if touched & before:  # it may follow what was touched
                continue
            if series[frame][places[place]].tobytes() != original[frame][places[place]].tobytes():
                return "decoded", f"tile {tile} was left alone and decodes to other values"
    elif found.tobytes() == clean.values.tobytes():
        return "unharmed", ""
    return "decoded", ""


def peak_rss() -> int:
    """The most memory this process ever held, in bytes."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else 1024 * size


def hunt(count: int, seed: int, kinds: list[str]) -> dict[str, Any]:
    """Make and read ``count`` files; what they ended in, the worst of time and memory, faults."""
    files = clean_files()
    for clean in files:  # everything is compiled and loaded once before memory is looked at
        wrong(clean, clean.blob, set())
    before = peak_rss()
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    slowest, most = 0.0, 0
    for number in range(count):
        random = np.random.default_rng([seed, number])
        kind = kinds[number % len(kinds)]
        choice = files[-1:] if kind == "embedded_models" else files
        clean = choice[int(random.integers(0, len(choice)))]
        blob, touched = KINDS[kind](clean, random)
        if number % TRACED == 0:
            tracemalloc.start()
        began = time.monotonic()
        outcome, fault = wrong(clean, blob, touched)
        seconds = time.monotonic() - began
        memory = tracemalloc.get_traced_memory()[1] if tracemalloc.is_tracing() else 0
        tracemalloc.stop()
        slowest, most = max(slowest, seconds), max(most, memory)
        outcomes[f"{kind}: {outcome}"] += 1
        if not fault and (seconds > SECONDS or memory > MEMORY):
            fault = f"took {seconds:.1f} s and {memory >> 20} MiB"
        if fault:
            faults.append(f"seed {seed}, number {number}, {kind} of {clean.name}: {fault}")
    grown = peak_rss() - before
    if grown > MEMORY:
        faults.append(f"the process grew by {grown >> 20} MiB")
    return {
        "outcomes": dict(sorted(outcomes.items())), "slowest_seconds": round(slowest, 3),
        "most_traced_bytes": most, "grown_bytes": grown, "faults": faults,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    found = hunt(options.count, options.seed, options.kinds)
    print(json.dumps(found, indent=1))
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
