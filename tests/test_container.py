"""The container: round trips, golden bytes, and what can't be written."""

from __future__ import annotations

import io
import json
import math
import re
import struct
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from container_cases import (
    GOLDEN,
    GOLDEN_HEADER,
    MODEL,
    PLAIN,
    ROOT,
    SMALL,
    SMALL_BLOB,
    Counting,
    Tile,
    build,
    outcome,
    small_tiles,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from volcodec.container import (
    CODINGS,
    DOMAINS,
    DTYPES,
    FIRST_READ,
    SUPPORTS,
    TARGETS,
    Header,
    Reader,
    TileEntry,
    Writer,
    describe,
    pack,
    pack_header,
    packed_size,
)
from volcodec.errors import FormatError, InputError

# --- round trips -------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
size = st.floats(min_value=0, allow_nan=False)
finite_size = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
pitch = st.just(1.0) | st.floats(0, exclude_min=True, allow_infinity=False)
name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    ndim = draw(st.sampled_from((2, 3)))
    tile = tuple(draw(st.integers(1, 300)) for _ in range(3))
    grid = [1 if ndim == 2 and axis == 0 else draw(st.integers(1, 3)) for axis in range(3)]
    shape = [draw(st.integers((g - 1) * t + 1, g * t)) for g, t in zip(grid, tile, strict=True)]
    target = draw(st.sampled_from(TARGETS))
    support = draw(st.sampled_from(SUPPORTS))
    value = 0.0 if target == "lossless" else draw(finite_size)
    value_range = draw(size)
    bounds = [st.just(math.inf), st.just(value), size]
    if not math.isnan(value * value_range):
        bounds.append(st.just(value * value_range))
    identity = draw(st.sampled_from((0, 8, 16)))
    domain = draw(st.sampled_from(DOMAINS))
    return Header(
        dtype=draw(st.sampled_from(DTYPES)),
        shape=(1 if ndim == 2 else shape[0], shape[1], shape[2]),
        tile=(tile[0], tile[1], tile[2]),
        scales=draw(st.integers(1, 8)),
        levels=draw(st.integers(0, 15)),
        frames=draw(st.integers(1, 3)),
        ndim=ndim,
        swapped=draw(st.booleans()),
        dataset=draw(name),
        target=target,
        target_value=value,
        bound=draw(st.one_of(bounds)),
        max_error=draw(size),
        relative_mse=draw(size),
        value_range=value_range,
        margin=draw(finite_size),
        support=support,
        background=draw(finite),
        nudge=draw(finite) if support == "exact" else 0.0,
        step=draw(finite_size),
        lattice_step=draw(finite_size),
        lattice_origin=draw(finite),
        domain=domain,
        pitch=draw(pitch) if domain == "lattice" else 0.0,
        attrs=draw(st.dictionaries(name, name, max_size=3).map(lambda d: json.dumps(d).encode())),
        model_name=draw(name) if identity == 16 else "",
        model_sha256=draw(st.binary(min_size=identity, max_size=identity)),
        extra=draw(st.binary(max_size=20)),
    )


@st.composite
def files(draw: st.DrawFn) -> tuple[Header, list[Tile], bytes | None]:
    header = draw(headers())
    pool = draw(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
    seed = draw(st.randoms(use_true_random=False))
    tiles: list[Tile] = [
        (
            seed.randrange(6),
            seed.choice((0, 0, 1, 255)),
            [seed.choice([b"", *pool]) for _ in range(header.streams)],
        )
        for _ in range(header.tiles)
    ]
    return header, tiles, draw(st.binary(max_size=50)) if len(header.model_sha256) == 16 else None


@settings(max_examples=80, deadline=None)
@given(files())
def test_round_trip(case: tuple[Header, list[Tile], bytes | None]) -> None:
    header, tiles, model = case
    blob = build(header, tiles, model)
    reader = Reader(blob)
    assert reader.header == replace(header, model_length=len(model or b""))
    assert struct.pack("<d", reader.header.background) == struct.pack("<d", header.background)
    assert reader.model_bytes() == (model or None)
    assert [reader.streams(t, 0, header.streams) for t in range(header.tiles)] == [
        tile[2] for tile in tiles
    ]
    assert [(e.coding, e.flags) for e in reader.index.entries] == [tile[:2] for tile in tiles]
    assert (reader.missing, reader.expected_size, reader.file_size) == (0, len(blob), len(blob))
    reader.check_length()
    assert packed_size(reader.header, list(reader.index)) == len(blob)
    info = describe(reader)
    assert sum(info.bytes_by_part.values()) == info.file_size == len(blob)
    assert sum(info.tiles_by_coding.values()) == info.tiles == header.tiles
    json.dumps(info.to_json_dict(), allow_nan=False)

    file = io.BytesIO()
    writer = Writer(file, replace(header, max_error=0, relative_mse=0, step=0), model_bytes=model)
    for tile in tiles:
        writer.write_tile(*tile)
    assert writer.finish(header) == len(blob)
    assert file.getvalue() == blob


@settings(max_examples=60, deadline=None)
@given(headers(), size, size, finite_size)
def test_reserved_header_keeps_its_length(
    header: Header, max_error: float, mse: float, step: float
) -> None:
    early = replace(header, bound=math.inf, max_error=0, relative_mse=0, step=0, value_range=0)
    first = replace(early, support="off", nudge=0, domain="real", pitch=0)
    last = replace(header, max_error=max_error, relative_mse=mse, step=step, gap=123)
    assert len(pack_header(first, reserve=True)) == len(pack_header(last, reserve=True))


def test_any_source(tmp_path: Path) -> None:
    expected = outcome(SMALL_BLOB)
    path = tmp_path / "small.vc"
    path.write_bytes(SMALL_BLOB)
    assert outcome(bytearray(SMALL_BLOB)) == expected
    strided = memoryview(bytes(b for b in SMALL_BLOB for _ in "ab"))[::2]
    with path.open("rb") as file, path.open("rb", buffering=0) as raw, path.open("r+b") as both:
        at_end = io.BytesIO(SMALL_BLOB)
        at_end.seek(0, 2)
        counting = (Counting(SMALL_BLOB), Counting(SMALL_BLOB, sized=False))
        for source in (memoryview(SMALL_BLOB), strided, file, raw, both, at_end, *counting):
            reader = Reader(source)
            assert reader.header == expected[0][0]
            assert reader.model_bytes() == MODEL
            for tile, (_, _, streams) in enumerate(small_tiles()):
                assert reader.streams(tile, 0, SMALL.streams) == streams
                assert reader.streams(tile, 1, 3) == streams[1:3]
            reader.check_length()


def test_offsets() -> None:
    reader = Reader(SMALL_BLOB)
    for tile, (_, _, streams) in enumerate(small_tiles()):
        for stream, data in enumerate(streams):
            start = reader.payload_offset + reader.index.offset(tile, stream)
            assert SMALL_BLOB[start : start + len(data)] == data
            if data:
                assert reader.index.tile_at(start - reader.payload_offset) == tile
    for wrong in ((-1, 0), (SMALL.tiles, 0), (0, SMALL.streams), (0, -1)):
        with pytest.raises(IndexError):
            reader.stream(*wrong)


# --- golden bytes, sizes, reads ----------------------------------------------------------------


def test_golden() -> None:
    streams = [b"", b"", bytes(range(6)), b""]
    assert build(GOLDEN_HEADER, [(5, 0, streams)]) == GOLDEN
    reader = Reader(GOLDEN)
    assert reader.header == GOLDEN_HEADER
    assert reader.streams(0, 0, 4) == streams
    assert describe(reader).shape == (2, 3)


def test_example_of_the_format_page() -> None:
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    example = re.search(r"```hex\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert bytes.fromhex(example[1]) == GOLDEN


def test_small_files_stay_small() -> None:
    streams = [b"", b"", *(b"x" * n for n in (20, 40, 60, 90, 120)), b""]
    blob = build(PLAIN, [(1, 0, streams)])
    reader = Reader(blob)
    assert reader.header_size <= 100
    assert reader.index_size == 4 + 2 + 5 * 5
    empty = TileEntry.of(0, 0, [b""] * 8)
    many = replace(PLAIN, shape=(960, 96, 96))
    # besides a second byte for the longer axis, the tile is no longer that of the whole volume
    assert packed_size(many, [empty] * 10) <= reader.header_size + 1 + 3 + 4 + 10 * 2


def test_domains() -> None:
    plain = pack_header(PLAIN)
    unit = pack_header(replace(PLAIN, domain="lattice", pitch=1))
    fine = pack_header(replace(PLAIN, domain="lattice", pitch=0.25))
    bits = pack_header(replace(PLAIN, domain="bits"))
    assert [section[0] >> 6 for section in (plain, unit, fine, bits)] == [0, 1, 1, 2]
    # A lattice of integers costs nothing, another as many bytes as its pitch takes.
    assert plain[1:] == unit[1:] == bits[1:]
    assert len(fine) == len(plain) + 3
    for domain, pitch in (("real", 0.0), ("lattice", 1.0), ("lattice", 0.25), ("bits", 0.0)):
        header = replace(GOLDEN_HEADER, domain=domain, pitch=pitch)
        info = describe(Reader(build(header, [(0, 0, [b""] * 4)])))
        assert (info.domain, info.pitch) == (domain, pitch)


def test_first_read_is_enough() -> None:
    header = replace(PLAIN, shape=(256, 256, 256), tile=(64, 64, 64))
    tiles: list[Tile] = [(1, 0, [bytes(300)] * 8) for _ in range(header.tiles)]
    source = Counting(build(header, tiles))
    reader = Reader(source)
    assert source.reads == [(0, FIRST_READ)]
    reader.streams(17, 2, 4)
    assert source.reads[1:] == [
        (reader.payload_offset + 17 * 2400 + 600, 600),
    ]

    header = replace(header, tile=(32, 32, 32))
    tiles = [(1, 0, [bytes(300)] * 8) for _ in range(header.tiles)]
    for sized in (True, False):
        source = Counting(build(header, tiles), sized)
        reader = Reader(source)
        front = reader.header_size + reader.index_size
        assert source.reads == [(0, FIRST_READ), (FIRST_READ, front - FIRST_READ)]


def test_info_figures() -> None:
    info = describe(Reader(SMALL_BLOB))
    assert info.psnr == pytest.approx(-10 * math.log10(0.0113))
    assert info.mse == pytest.approx(0.0113 * 254.3**2)
    assert info.ratio == 2 * 5 * 4 * 7 * 4 / len(SMALL_BLOB)
    assert info.bits_per_voxel == 8 * len(SMALL_BLOB) / (2 * 5 * 4 * 7)
    assert info.attrs["unit"] == "mm"
    assert (info.dataset, info.model, info.model_embedded) == ("a/b", "density", True)
    assert info.model_sha256 == bytes(range(16)).hex()
    lossless = describe(Reader(GOLDEN)).to_json_dict()
    assert (lossless["psnr"], lossless["bound"], lossless["dataset"]) == ("inf", 0.0, "volume")
    huge = replace(GOLDEN_HEADER, value_range=1e300, relative_mse=1e-300)
    assert describe(Reader(build(huge, [(0, 0, [b""] * 4)]))).psnr == pytest.approx(3000)


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, volcodec.container; "
        "assert not {'numpy', 'torch', 'numba', 'h5py'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# --- writing -----------------------------------------------------------------------------------


class WriteOnly(io.BytesIO):
    def readable(self) -> bool:
        return False

    def read(self, size: int | None = -1, /) -> bytes:
        raise AssertionError("read from a file that can only be written")


def test_streaming_without_reading_leaves_a_gap() -> None:
    file = WriteOnly(b"old" * 5000)
    provisional = replace(SMALL, bound=math.inf, max_error=0, relative_mse=0, value_range=0, step=0)
    writer = Writer(file, provisional, model_bytes=MODEL)
    with pytest.raises(FormatError):
        Reader(file.getvalue())
    for tile in small_tiles():
        writer.write_tile(*tile)
    assert writer.tiles == SMALL.tiles
    assert writer.finish(SMALL) == len(file.getvalue())
    reader = Reader(file.getvalue())
    assert reader.header.gap > 0
    assert replace(reader.header, gap=0) == replace(SMALL, model_length=len(MODEL))
    reader.check_length()
    found, _ = outcome(file.getvalue())
    expected, _ = outcome(SMALL_BLOB)
    assert found[1:] == expected[1:]


def test_streaming_to_a_file_is_pack(tmp_path: Path) -> None:
    for buffering in (0, -1):
        with (tmp_path / "out.vc").open("w+b", buffering) as file:
            writer = Writer(file, SMALL, model_bytes=MODEL)
            for tile in small_tiles():
                writer.write_tile(*tile)
            size_before = writer.size
            assert writer.finish() == size_before == len(SMALL_BLOB)
        assert (tmp_path / "out.vc").read_bytes() == SMALL_BLOB


def test_writer_misuse() -> None:
    file = io.BytesIO()
    writer = Writer(file, SMALL)
    with pytest.raises(ValueError, match="streams"):
        writer.write_tile(0, 0, [b""])
    with pytest.raises(ValueError, match="tiles written"):
        writer.finish()
    for tile in small_tiles():
        writer.write_tile(*tile)
    with pytest.raises(ValueError, match="all tiles"):
        writer.write_tile(*small_tiles()[0])
    with pytest.raises(ValueError, match="another volume"):
        writer.finish(replace(SMALL, shape=(5, 4, 8)))
    writer.finish()
    with pytest.raises(ValueError, match="tiles written"):
        writer.finish()


def test_pack_refuses_what_does_not_agree() -> None:
    entry = TileEntry.of(5, 0, [b"", b"", b"abc", b""])
    for entries, payload in (([], [b""]), ([entry], [b"ab"]), ([entry, entry], [b"abcabc"])):
        with pytest.raises(ValueError, match=r"entries|payload"):
            pack(GOLDEN_HEADER, entries, payload)
    with pytest.raises(ValueError, match="coding"):
        pack(GOLDEN_HEADER, [replace(entry, coding=len(CODINGS))], [b"abc"])


BAD_FIELDS: list[dict[str, Any]] = [
    {"dtype": "int64"},
    {"shape": (0, 1, 1)},
    {"shape": (1, 1, (1 << 40) + 1)},
    {"tile": (4097, 1, 1)},
    {"tile": (4096, 4096, 9)},
    {"tile": (0, 1, 1)},
    {"ndim": 4},
    {"ndim": 2},
    {"frames": 0},
    {"scales": 9},
    {"scales": 0},
    {"levels": 16},
    {"dataset": "é" * 128},
    {"dataset": "a\0"},
    {"dataset": "\ud800"},
    {"target": "best"},
    {"target_value": math.nan},
    {"target_value": -1.0},
    {"target": "lossless"},
    {"bound": math.nan},
    {"bound": -1.0},
    {"max_error": math.nan},
    {"relative_mse": -1.0},
    {"margin": math.inf},
    {"support": "maybe"},
    {"support": "off"},
    {"background": math.nan},
    {"step": math.inf},
    {"lattice_step": -1.0},
    {"lattice_origin": math.inf},
    {"domain": "complex"},
    {"domain": "lattice"},
    {"pitch": 1.0},
    {"domain": "bits", "pitch": 1.0},
    {"domain": "lattice", "pitch": -1.0},
    {"domain": "lattice", "pitch": math.inf},
    {"domain": "lattice", "pitch": math.nan},
    {"attrs": bytes((1 << 20) + 1)},
    {"model_sha256": b"x"},
    {"model_sha256": b""},
    {"model_sha256": bytes(8)},  # it has a name
    {"model_sha256": bytes(8), "model_name": "", "model_length": 5},
    {"extra": bytes((1 << 16) + 1)},
]


@pytest.mark.parametrize("change", BAD_FIELDS, ids=lambda c: next(iter(c)))
def test_impossible_fields_are_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        pack_header(replace(SMALL, **change))


def test_numbers_become_plain() -> None:
    class Scalar(float):
        pass

    header = replace(PLAIN, step=Scalar(0.5), dataset="volume")
    assert type(header.step) is float
    assert header.dataset == ""
    assert header.dataset_name == "volume"


def test_every_header_field_is_described() -> None:
    described = {f.name for f in fields(describe(Reader(GOLDEN)))}
    renamed = {"swapped", "value_range", "relative_mse", "model_name", "gap", "extra"}
    assert {f.name for f in fields(Header)} - renamed <= described
