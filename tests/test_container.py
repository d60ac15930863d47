"""The container: round trips, golden bytes, and every kind of damage."""

from __future__ import annotations

import io
import json
import math
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volcodec.container import (
    DTYPES,
    FIRST_READ,
    SUPPORTS,
    TARGETS,
    ByteSource,
    Header,
    Reader,
    TileEntry,
    Writer,
    describe,
    pack,
    pack_header,
    packed_size,
    stream_name,
)
from volcodec.errors import FormatError, InputError

ROOT = Path(__file__).parent.parent
Tile = tuple[int, int, list[bytes]]

GOLDEN = bytes.fromhex(
    "8956430d0a1a0a0100140000000b000000f1b8f76a"
    "20000808a0000102030102030000000000001440"
    "0450064acfeb309575e41f"
    "000102030405"
)
GOLDEN_HEADER = Header(
    dtype="uint8",
    shape=(1, 2, 3),
    tile=(1, 2, 3),
    scales=1,
    levels=0,
    ndim=2,
    bound=0.0,
    value_range=5.0,
)

PLAIN = Header(
    dtype="float32",
    shape=(96, 96, 96),
    tile=(96, 96, 96),
    scales=5,
    levels=4,
    target="rel_error",
    target_value=1e-3,
    bound=1e-3 * 254.3,
    max_error=0.25,
    mse=0.0113,
    value_range=254.3,
    step=0.31,
    model_name="density",
    model_sha256=bytes(range(32)),
)

# Two frames of 2 x 1 x 2 tiles, attributes, an embedded model: something of everything.
SMALL = replace(
    PLAIN,
    shape=(5, 4, 7),
    tile=(3, 4, 4),
    frames=2,
    scales=2,
    dataset="a/b",
    attrs=json.dumps({"spacing": [1.0, 0.5, 0.5], "unit": "mm", "x": "ab" * 60}).encode(),
    support="exact",
    background=-1.0,
    nudge=0.5,
)
MODEL = b"weights" * 3


def small_tiles(header: Header = SMALL) -> list[Tile]:
    return [
        (t % 6, t % 3, [bytes((t + s,)) * ((t * 7 + s * 3) % 5) for s in range(header.streams)])
        for t in range(header.tiles)
    ]


def build(header: Header, tiles: list[Tile], model: bytes | None = None) -> bytes:
    entries = [TileEntry.of(*tile) for tile in tiles]
    return pack(header, entries, [s for tile in tiles for s in tile[2]], model)


SMALL_BLOB = build(SMALL, small_tiles(), MODEL)


def seal(section: bytes, index: bytes, rest: bytes = b"", *, minor: int = 0) -> bytes:
    """A file with right checksums around whatever the header and the index's entries hold."""
    start = struct.pack("<7sBBII", b"\x89VC\r\n\x1a\n", 1, minor, len(section), len(index) + 4)
    front = start + struct.pack("<I", zlib.crc32(start + section)) + section
    return front + index + struct.pack("<I", zlib.crc32(index)) + rest


def parts(blob: bytes) -> tuple[bytes, bytes, bytes]:
    """Header, entries of the index, and what follows."""
    header, index = struct.unpack_from("<II", blob, 9)
    return (
        blob[21 : 21 + header],
        blob[21 + header : 17 + header + index],
        blob[21 + header + index :],
    )


def outcome(blob: bytes | bytearray) -> tuple[list[Any], bool]:
    """What can be read of ``blob`` (None for what can't), and whether it opened."""
    try:
        reader = Reader(blob)
        describe(reader).to_json_dict()
    except FormatError:
        return [], False
    found: list[Any] = [reader.header, list(reader.index.entries)]
    try:
        found.append(reader.model_bytes())
    except FormatError:
        found.append(None)
    scales = reader.header.scales
    for tile in range(len(reader.index)):
        for stream in range(reader.header.streams):
            try:
                found.append(reader.stream(tile, stream))
            except FormatError as error:
                told = str(error)
                named = f"tile {tile} (" in told and stream_name(stream, scales) in told
                found.append(None if named else error)
    return found, True


class Counting:
    """A source that counts what is read from it."""

    def __init__(self, blob: bytes, sized: bool = True) -> None:
        self.blob = blob
        self.reads: list[tuple[int, int]] = []
        if sized:
            self.size = len(blob)

    def read_at(self, offset: int, size: int, /) -> bytes:
        self.reads.append((offset, size))
        return self.blob[offset : offset + size]


# --- round trips -------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
size = st.floats(min_value=0, allow_nan=False)
finite_size = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
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
    model = draw(st.booleans())
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
        mse=draw(size),
        value_range=value_range,
        margin=draw(finite_size),
        support=support,
        background=draw(finite),
        nudge=draw(finite) if support == "exact" else 0.0,
        step=draw(finite_size),
        lattice_step=draw(finite_size),
        lattice_origin=draw(finite),
        attrs=draw(st.dictionaries(name, name, max_size=3).map(lambda d: json.dumps(d).encode())),
        model_name=draw(name) if model else "",
        model_sha256=draw(st.binary(min_size=32, max_size=32)) if model else b"",
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
    return header, tiles, draw(st.binary(max_size=50)) if header.model_sha256 else None


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
    writer = Writer(file, replace(header, max_error=0, mse=0, step=0), model_bytes=model)
    for tile in tiles:
        writer.write_tile(*tile)
    assert writer.finish(header) == len(blob)
    assert file.getvalue() == blob


@settings(max_examples=60, deadline=None)
@given(headers(), size, size, finite_size)
def test_reserved_header_keeps_its_length(
    header: Header, max_error: float, mse: float, step: float
) -> None:
    first = replace(
        header, bound=math.inf, max_error=0, mse=0, step=0, value_range=0, support="off", nudge=0
    )
    last = replace(header, max_error=max_error, mse=mse, step=step, gap=123)
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
    assert reader.header_size <= 115
    assert reader.index_size == 4 + 2 + 5 * 5
    empty = TileEntry.of(0, 0, [b""] * 8)
    many = replace(PLAIN, shape=(960, 96, 96))
    assert packed_size(many, [empty] * 10) <= reader.header_size + 1 + 4 + 10 * 2


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
    assert info.psnr == pytest.approx(10 * math.log10(254.3**2 / 0.0113))
    assert info.ratio == 2 * 5 * 4 * 7 * 4 / len(SMALL_BLOB)
    assert info.bits_per_voxel == 8 * len(SMALL_BLOB) / (2 * 5 * 4 * 7)
    assert info.attrs["unit"] == "mm"
    assert (info.dataset, info.model, info.model_embedded) == ("a/b", "density", True)
    assert info.model_sha256 == bytes(range(32)).hex()
    lossless = describe(Reader(GOLDEN)).to_json_dict()
    assert (lossless["psnr"], lossless["bound"], lossless["dataset"]) == ("inf", 0.0, "volume")
    huge = replace(GOLDEN_HEADER, value_range=1e300, mse=1e299)
    assert describe(Reader(build(huge, [(0, 0, [b""] * 4)]))).psnr == pytest.approx(3010)


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
    provisional = replace(SMALL, bound=math.inf, max_error=0, mse=0, value_range=0, step=0)
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
        pack(GOLDEN_HEADER, [replace(entry, coding=6)], [b"abc"])


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
    {"mse": -1.0},
    {"margin": math.inf},
    {"support": "maybe"},
    {"support": "off"},
    {"background": math.nan},
    {"step": math.inf},
    {"lattice_step": -1.0},
    {"lattice_origin": math.inf},
    {"attrs": bytes((1 << 20) + 1)},
    {"model_sha256": b"x"},
    {"model_sha256": b""},
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


# --- damage ------------------------------------------------------------------------------------


def test_every_bit_flip_is_found() -> None:
    expected, _ = outcome(SMALL_BLOB)
    reader = Reader(SMALL_BLOB)
    front = reader.header_size + reader.index_size
    for bit in range(8 * len(SMALL_BLOB)):
        damaged = bytearray(SMALL_BLOB)
        damaged[bit // 8] ^= 1 << bit % 8
        found, opened = outcome(bytes(damaged))
        assert opened == (bit // 8 >= front)
        if opened:
            # Exactly one stream, or the model, is lost.
            lost = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
            assert len(lost) == 1
            assert found[lost[0]] is None


def test_every_truncation() -> None:
    expected, _ = outcome(SMALL_BLOB)
    reader = Reader(SMALL_BLOB)
    front = reader.header_size + reader.index_size
    ends = [
        reader.payload_offset + reader.index.offset(t, s) + reader.index[t].lengths[s]
        for t in range(SMALL.tiles)
        for s in range(SMALL.streams)
    ]
    for end in range(len(SMALL_BLOB)):
        cut = SMALL_BLOB[:end]
        found, opened = outcome(cut)
        assert opened == (end >= front)
        if not opened:
            continue
        assert found[:2] == expected[:2]
        assert found[2] == (MODEL if end >= reader.payload_offset else None)
        for there, wanted, stream_end in zip(found[3:], expected[3:], ends, strict=True):
            assert there == (wanted if end >= stream_end or not wanted else None)
        for source in (Counting(cut), Counting(cut, sized=False)):
            short = Reader(source)
            assert short.missing == len(SMALL_BLOB) - end
            with pytest.raises(FormatError, match="truncated"):
                short.check_length()


def test_truncation_and_surplus_of_a_source_that_hides_its_size() -> None:
    header = replace(PLAIN, shape=(96, 96, 96 * 4))
    blob = build(header, [(1, 0, [bytes(500)] * 8)] * 4)
    for end in (5000, len(blob) - 1):
        reader = Reader(Counting(blob[:end], sized=False))
        assert reader.file_size is None
        with pytest.raises(FormatError, match="truncated"):
            reader.check_length()
        with pytest.raises(FormatError, match=r"tile 3 .*correction.*truncated"):
            reader.stream(3, 7)
        assert reader.stream(0, 0) == bytes(500)
    Reader(Counting(blob, sized=False)).check_length()
    for sized in (True, False):
        with pytest.raises(FormatError, match="after its end"):
            Reader(Counting(blob + b"x", sized)).check_length()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_hostile_front_with_right_checksums(data: st.DataObject) -> None:
    section, index, rest = (bytearray(part) for part in parts(SMALL_BLOB))
    for _ in range(data.draw(st.integers(1, 4))):
        victim = data.draw(st.sampled_from((section, index)))
        at = data.draw(st.integers(0, len(victim)))
        match data.draw(st.sampled_from(("set", "cut", "insert"))):
            case "set":
                victim[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "cut":
                del victim[at : at + data.draw(st.integers(1, 9))]
            case _:
                victim[at:at] = data.draw(st.binary(max_size=9))
    minor = data.draw(st.sampled_from((0, 0, 0, 7)))
    outcome(seal(bytes(section), bytes(index), bytes(rest), minor=minor))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.binary(max_size=60), st.integers(0, 1))
def test_noise_with_right_checksums(section: bytes, index: bytes, minor: int) -> None:
    outcome(seal(section, index, minor=minor))
    outcome(section)


def header_bytes(
    dtype: int = 0,
    layers: int = 0,
    flags: int = 5 << 21,
    sizes: bytes = b"\1\2\3\1\2\3",
    rest: bytes = b"",
) -> bytes:
    return struct.pack("<BBI", dtype, layers, flags) + sizes + rest


ENTRY = b"\0\0"
NAN = struct.pack("<d", math.nan)
MINUS = struct.pack("<d", -1.0)
BOMB = zlib.compress(bytes((1 << 20) + 1))

HOSTILE = {
    "unknown dtype": header_bytes(dtype=9),
    "reserved kind": header_bytes(dtype=0x40),
    "reserved layers": header_bytes(layers=0x80),
    "2-D with depth": header_bytes(dtype=0x20, sizes=b"\2\2\3\2\2\3"),
    "unknown support": header_bytes(flags=5 << 21 | 2 << 12),
    "unknown target": header_bytes(flags=6 << 21),
    "unknown flag": header_bytes(flags=5 << 21 | 1 << 25),
    "overlong varint": header_bytes(sizes=b"\x81\0\2\3\1\2\3"),
    "overlong zero": header_bytes(sizes=b"\x80\0\2\3\1\2\3"),
    "endless varint": header_bytes(sizes=b"\xff" * 40),
    "64-bit varint": header_bytes(sizes=b"\xff" * 9 + b"\1\2\3\1\2\3"),
    "empty axis": header_bytes(sizes=b"\0\2\3\1\2\3"),
    "empty tile": header_bytes(sizes=b"\1\2\3\1\0\3"),
    "wide tile": header_bytes(sizes=b"\1\2\3\1\2\x81\x20"),
    "petabyte": header_bytes(sizes=b"\x80\x80\x40" * 3 + b"\x40" * 3),
    "huge axes": header_bytes(sizes=b"\x80\x80\x80\x80\x80\x20" * 3 + b"\1" * 3),
    "no frames": header_bytes(flags=5 << 21 | 1 << 24, rest=b"\0"),
    "many frames": header_bytes(flags=5 << 21 | 1 << 24, rest=b"\x80\x80\x80\x80\x10"),
    "nan bound": header_bytes(flags=5 << 21 | 1 << 10, rest=NAN),
    "negative bound": header_bytes(flags=5 << 21 | 1 << 10, rest=MINUS),
    "negative bound by target": header_bytes(flags=2 << 21 | 2 << 10 | 1, rest=MINUS),
    "nan error": header_bytes(flags=5 << 21 | 2, rest=NAN),
    "name not UTF-8": header_bytes(flags=5 << 21 | 1 << 14, rest=b"\2\xff\xff"),
    "name with NUL": header_bytes(flags=5 << 21 | 1 << 14, rest=b"\1\0"),
    "name cut": header_bytes(flags=5 << 21 | 1 << 14, rest=b"\5ab"),
    "attributes cut": header_bytes(flags=5 << 21 | 1 << 15, rest=b"\xff" * 8 + b"\x7f{}"),
    "attributes not zlib": header_bytes(flags=5 << 21 | 3 << 15, rest=b"\2{}"),
    "attributes not JSON": header_bytes(flags=5 << 21 | 1 << 15, rest=b"\2{["),
    "attributes not an object": header_bytes(flags=5 << 21 | 1 << 15, rest=b"\2[]"),
    "attributes too deep": header_bytes(
        flags=5 << 21 | 1 << 15, rest=b"\xa0\x8d\x06" + b"[" * 100000
    ),
    "attributes deep": header_bytes(
        flags=5 << 21 | 1 << 15, rest=b"\xce\x01" + b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"
    ),
    "attributes bomb": header_bytes(
        flags=5 << 21 | 3 << 15, rest=bytes((len(BOMB) & 127 | 128, len(BOMB) >> 7)) + BOMB
    ),
    "compressed nothing": header_bytes(flags=5 << 21 | 1 << 16),
    "model without identity": header_bytes(flags=5 << 21 | 1 << 18, rest=b"\1"),
    "endless gap": header_bytes(flags=5 << 21 | 1 << 19, rest=b"\xff" * 8),
    "nothing": b"",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_headers(what: str) -> None:
    assert outcome(seal(header_bytes(), ENTRY))[1]
    blob = seal(HOSTILE[what], ENTRY)
    tracemalloc.start()
    assert not outcome(blob)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


HOSTILE_INDEXES = {
    "nothing": b"",
    "half an entry": b"\0",
    "too many entries": b"\0\0\0\0",
    "unknown coding": b"\0\x60",
    "stream that isn't": b"\x10\0\1\0\0\0\0",
    "empty flags": b"\0\x08\0",
    "flags cut": b"\0\x08",
    "length cut": b"\1\0",
    "empty length": b"\1\0\0\0\0\0\0",
    "overlong length": b"\1\0\x81\0\0\0\0\0",
    "long length": b"\1\0" + b"\x80" * 5 + b"\1\0\0\0\0",
    "checksum cut": b"\1\0\1\0\0\0",
}


@pytest.mark.parametrize("what", HOSTILE_INDEXES)
def test_hostile_indexes(what: str) -> None:
    with pytest.raises(FormatError):
        Reader(seal(header_bytes(), HOSTILE_INDEXES[what]))


def read_model_and_stream(source: ByteSource) -> None:
    reader = Reader(source)
    if reader.header.model_length:
        reader.model_bytes()
    reader.stream(0, 0)


def test_claims_take_no_memory() -> None:
    longest = b"\1\0\xff\xff\xff\xff\x7f\0\0\0\0"
    flags = 5 << 21 | 1 << 17 | 1 << 18
    section = header_bytes(flags=flags, rest=bytes(33) + b"\xff" * 7 + b"\x3f")
    blobs = [seal(header_bytes(), longest), seal(section, longest)]
    blobs.append(blobs[0][:9] + b"\xff\xff\x3f\0\xff\xff\xff\xff" + blobs[0][17:])
    for blob in blobs:
        for source in (blob, Counting(blob + bytes(FIRST_READ), sized=False)):
            tracemalloc.start()
            with pytest.raises(FormatError):
                read_model_and_stream(source)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
            tracemalloc.stop()


def test_newer_versions() -> None:
    newer = bytearray(GOLDEN)
    newer[7] = 2
    with pytest.raises(FormatError, match=r"newer.*upgrade volcodec"):
        Reader(bytes(newer))
    newer[7] = 0
    with pytest.raises(FormatError, match="does not exist"):
        Reader(bytes(newer))
    section, index, rest = parts(GOLDEN)
    more = bytearray(section + b"a field of version 1.9")
    more[5] |= 0x80
    reader = Reader(seal(bytes(more), index, rest, minor=9))
    assert reader.header == GOLDEN_HEADER
    assert reader.stream(0, 2) == bytes(range(6))
    assert describe(reader).version == "1.9"
    # Bytes that follow are ignored whatever the version; flags nobody has defined are not.
    assert Reader(seal(section + b"more", index, rest)).header == GOLDEN_HEADER
    with pytest.raises(FormatError, match="flags"):
        Reader(seal(bytes(more), index, rest))


@pytest.mark.parametrize("blob", [b"", b"\x89VC", b"\x89HDF\r\n\x1a\n" * 9, GOLDEN[:20]])
def test_not_a_file_of_ours(blob: bytes) -> None:
    with pytest.raises(FormatError):
        Reader(blob)


def test_every_header_field_is_described() -> None:
    described = {f.name for f in fields(describe(Reader(GOLDEN)))}
    renamed = {"swapped", "value_range", "model_name", "gap", "extra"}
    assert {f.name for f in fields(Header)} - renamed <= described
