"""The container: every kind of damage and of hostile bytes."""

from __future__ import annotations

import math
import struct
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from container_cases import (
    GOLDEN,
    GOLDEN_HEADER,
    MODEL,
    PLAIN,
    SMALL,
    SMALL_BLOB,
    Counting,
    build,
    outcome,
    parts,
    seal,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from volcodec.container import FIRST_READ, ByteSource, Reader, describe
from volcodec.errors import FormatError


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


LOSSLESS = 5 << 22


def header_bytes(
    dtype: int = 0,
    layers: int = 0,
    flags: int = LOSSLESS,
    sizes: bytes = b"\1\2\3\1\2\3",
    rest: bytes = b"",
) -> bytes:
    return struct.pack("<BBI", dtype, layers, flags) + sizes + rest


ENTRY = b"\0\0"
NAN = b"\x08" + struct.pack("<d", math.nan)
MINUS = b"\x08" + struct.pack("<d", -1.0)
ONE = b"\x08" + struct.pack("<d", 1.0)
INFINITE = b"\x08" + struct.pack("<d", math.inf)
BOMB = zlib.compress(bytes((1 << 20) + 1))

HOSTILE = {
    "unknown dtype": header_bytes(dtype=9),
    "unknown domain": header_bytes(dtype=0xC0),
    "a number of nine bytes": header_bytes(flags=LOSSLESS | 8, rest=b"\x09" + bytes(9)),
    "2-D with depth": header_bytes(dtype=0x20, sizes=b"\2\2\3\2\2\3"),
    "unknown support": header_bytes(flags=LOSSLESS | 2 << 13),
    "unknown target": header_bytes(flags=6 << 22),
    "unknown flag": header_bytes(flags=LOSSLESS | 1 << 30),
    "overlong varint": header_bytes(sizes=b"\x81\0\2\3\1\2\3"),
    "overlong zero": header_bytes(sizes=b"\x80\0\2\3\1\2\3"),
    "endless varint": header_bytes(sizes=b"\xff" * 40),
    "64-bit varint": header_bytes(sizes=b"\xff" * 9 + b"\1\2\3\1\2\3"),
    "empty axis": header_bytes(sizes=b"\0\2\3\1\2\3"),
    "empty tile": header_bytes(sizes=b"\1\2\3\1\0\3"),
    "wide tile": header_bytes(sizes=b"\1\2\3\1\2\x81\x20"),
    "petabyte": header_bytes(sizes=b"\x80\x80\x40" * 3 + b"\x40" * 3),
    "huge axes": header_bytes(sizes=b"\x80\x80\x80\x80\x80\x20" * 3 + b"\1" * 3),
    "no frames": header_bytes(flags=LOSSLESS | 1 << 25, rest=b"\0"),
    "many frames": header_bytes(flags=LOSSLESS | 1 << 25, rest=b"\x80\x80\x80\x80\x10"),
    "nan bound": header_bytes(flags=LOSSLESS | 1 << 11, rest=NAN),
    "negative bound": header_bytes(flags=LOSSLESS | 1 << 11, rest=MINUS),
    "negative bound by target": header_bytes(flags=2 << 22 | 2 << 11 | 1, rest=MINUS),
    "nan error": header_bytes(flags=LOSSLESS | 2, rest=NAN),
    "pitch of reals": header_bytes(flags=LOSSLESS | 1 << 10, rest=ONE),
    "pitch of bits": header_bytes(dtype=0x80, flags=LOSSLESS | 1 << 10, rest=ONE),
    "no pitch": header_bytes(dtype=0x40, flags=LOSSLESS | 1 << 10, rest=bytes(8)),
    "negative pitch": header_bytes(dtype=0x40, flags=LOSSLESS | 1 << 10, rest=MINUS),
    "infinite pitch": header_bytes(dtype=0x40, flags=LOSSLESS | 1 << 10, rest=INFINITE),
    "nan pitch": header_bytes(dtype=0x40, flags=LOSSLESS | 1 << 10, rest=NAN),
    "name not UTF-8": header_bytes(flags=LOSSLESS | 1 << 15, rest=b"\2\xff\xff"),
    "name with NUL": header_bytes(flags=LOSSLESS | 1 << 15, rest=b"\1\0"),
    "name cut": header_bytes(flags=LOSSLESS | 1 << 15, rest=b"\5ab"),
    "attributes cut": header_bytes(flags=LOSSLESS | 1 << 16, rest=b"\xff" * 8 + b"\x7f{}"),
    "attributes not zlib": header_bytes(flags=LOSSLESS | 3 << 16, rest=b"\2{}"),
    "attributes not JSON": header_bytes(flags=LOSSLESS | 1 << 16, rest=b"\2{["),
    "attributes not an object": header_bytes(flags=LOSSLESS | 1 << 16, rest=b"\2[]"),
    "attributes too deep": header_bytes(
        flags=LOSSLESS | 1 << 16, rest=b"\xa0\x8d\x06" + b"[" * 100000
    ),
    "attributes deep": header_bytes(
        flags=LOSSLESS | 1 << 16, rest=b"\xce\x01" + b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"
    ),
    "attributes bomb": header_bytes(
        flags=LOSSLESS | 3 << 16, rest=bytes((len(BOMB) & 127 | 128, len(BOMB) >> 7)) + BOMB
    ),
    "compressed nothing": header_bytes(flags=LOSSLESS | 1 << 17),
    "model without identity": header_bytes(flags=LOSSLESS | 1 << 19, rest=b"\1"),
    "endless gap": header_bytes(flags=LOSSLESS | 1 << 20, rest=b"\xff" * 8),
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
    "unknown coding": b"\0\xf0",
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
    flags = LOSSLESS | 1 << 18 | 1 << 19
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
