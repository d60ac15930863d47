"""The front of a .vc file, written and read: preamble, header section and checksums."""

from __future__ import annotations

import math
import struct
import zlib

from volcodec.container.fields import Cursor, pack_f64, pack_u32, pack_u64, pack_varint
from volcodec.container.header import (
    BRIEF_SIZE,
    DOMAINS,
    DTYPES,
    IDENTITY_SIZE,
    MAX_ATTRS,
    NUMBERS,
    SUPPORTS,
    TARGETS,
    Header,
)
from volcodec.errors import FormatError, InputError

MAGIC = b"\x89VC\r\n\x1a\n"
MAJOR = 1
MINOR = 0

MAX_HEADER = 1 << 22

# The flags word; its bits 0..10 tell which of NUMBERS are present.
_BOUND_SHIFT = 11
_BOUND_NONE, _BOUND_STORED, _BOUND_TARGET, _BOUND_RELATIVE = range(4)
_SUPPORT_SHIFT = 13
_DATASET = 1 << 15
_ATTRS = 1 << 16
_ATTRS_ZLIB = 1 << 17
_MODEL = 1 << 18
_EMBEDDED = 1 << 19
_GAP = 1 << 20
_EXTRA = 1 << 21
_TARGET_SHIFT = 22
_FRAMES = 1 << 25
_KEPT = 1 << 26
_LEAST = 1 << 27
_SNAP = 1 << 28
_CAPPED = 1 << 29
_BRIEF = 1 << 30
_KNOWN_FLAGS = (1 << 31) - 1

_PREAMBLE = struct.Struct("<7sBBIII")
PREAMBLE_SIZE = _PREAMBLE.size


def pack_header(header: Header, *, reserve: bool = False) -> bytes:
    """The header section. InputError where a field can't be stored.

    With ``reserve`` every optional number is present whatever its value, so the length stays
    the same when the achieved figures, the steps, the bound, the domain or the gap come later.
    """
    header.check(InputError)
    numbers = [pack_f64(getattr(header, name), whole=reserve) for name in NUMBERS]
    absent = [pack_f64(n, whole=reserve) for n in _absent_numbers(header.domain).values()]
    present = [reserve or a != b for a, b in zip(numbers, absent, strict=True)]
    flags = sum(1 << bit for bit, there in enumerate(present) if there)
    bound = _BOUND_STORED if reserve else _bound_mode(header)
    flags |= bound << _BOUND_SHIFT
    flags |= SUPPORTS.index(header.support) << _SUPPORT_SHIFT
    flags |= TARGETS.index(header.target) << _TARGET_SHIFT

    front = [
        DTYPES.index(header.dtype)
        | header.swapped << 4
        | (header.ndim == 2) << 5
        | DOMAINS.index(header.domain) << 6,
        header.levels | (header.scales - 1) << 4 | (header.tile == header.shape) << 7,
    ]
    tile = () if header.tile == header.shape else header.tile
    body = [pack_varint(n) for n in (*header.shape, *tile)]
    body += [number for number, there in zip(numbers, present, strict=True) if there]
    if bound == _BOUND_STORED:
        body.append(pack_f64(header.bound, whole=reserve))
    if header.frames != 1:
        flags |= _FRAMES
        body.append(pack_varint(header.frames))
    if header.dataset:
        flags |= _DATASET
        body.append(_pack_text(header.dataset))
    if header.attrs:
        flags |= _ATTRS
        stored = zlib.compress(header.attrs, 9)
        if len(stored) < len(header.attrs):
            flags |= _ATTRS_ZLIB
        else:
            stored = header.attrs
        body += [pack_varint(len(stored)), stored]
    if len(header.model_sha256) == BRIEF_SIZE:
        flags |= _BRIEF
        body.append(header.model_sha256)
    elif header.model_sha256:
        flags |= _MODEL
        body += [header.model_sha256, _pack_text(header.model_name)]
    if header.model_length:
        flags |= _EMBEDDED
        body.append(pack_varint(header.model_length))
    if header.gap or reserve:
        flags |= _GAP
        body.append(pack_u64(header.gap))
    if header.extra:
        flags |= _EXTRA
        body += [pack_varint(len(header.extra)), header.extra]
    if header.kept:
        flags |= _KEPT | (_CAPPED if header.capped else 0)
        if header.least != header.background:
            flags |= _LEAST
            body.append(pack_f64(header.least))
    if header.snap:
        flags |= _SNAP
        body.append(pack_f64(header.snap))
    return bytes(front) + pack_u32(flags) + b"".join(body)


def parse_header(section: bytes, minor: int = MINOR) -> Header:
    """The Header in ``section``, whose checksum has been verified; else FormatError.

    Bytes after the last known field are ignored: later minor versions may add some.
    """
    cursor = Cursor(section, "header")
    kind, layers, flags = cursor.u8(), cursor.u8(), cursor.u32()
    if minor <= MINOR and flags & ~_KNOWN_FLAGS:
        raise FormatError("header: unknown flags")
    dtype = _name_of(DTYPES, kind & 15, "dtype")
    domain = _name_of(DOMAINS, kind >> 6, "domain")
    support = _name_of(SUPPORTS, flags >> _SUPPORT_SHIFT & 3, "support mode")
    target = _name_of(TARGETS, flags >> _TARGET_SHIFT & 7, "target")

    z, y, x = (cursor.varint() for _ in range(3))
    tz, ty, tx = (z, y, x) if layers >> 7 else (cursor.varint() for _ in range(3))
    numbers = _absent_numbers(domain)
    numbers |= {n: cursor.f64() for bit, n in enumerate(NUMBERS) if flags >> bit & 1}
    mode = flags >> _BOUND_SHIFT & 3
    if mode == _BOUND_STORED:
        bound = cursor.f64()
    else:
        value = numbers["target_value"]
        relative = value * numbers["value_range"]
        bound = {_BOUND_NONE: math.inf, _BOUND_TARGET: value, _BOUND_RELATIVE: relative}[mode]

    frames = cursor.varint() if flags & _FRAMES else 1
    dataset = cursor.text() if flags & _DATASET else ""
    attrs = cursor.take(cursor.varint()) if flags & _ATTRS else b""
    if flags & _ATTRS_ZLIB:
        attrs = _inflate(attrs)
    if flags & _MODEL and flags & _BRIEF:
        raise FormatError("header: a model twice")
    sha256, model_name = b"", ""
    if flags & _BRIEF:
        sha256 = cursor.take(BRIEF_SIZE)
    if flags & _MODEL:
        sha256, model_name = cursor.take(IDENTITY_SIZE), cursor.text()
    model_length = cursor.varint() if flags & _EMBEDDED else 0
    gap = cursor.u64() if flags & _GAP else 0
    extra = cursor.take(cursor.varint()) if flags & _EXTRA else b""
    if flags & _LEAST and not flags & _KEPT:
        raise FormatError("header: a least value without limits")
    kept = bool(flags & _KEPT)
    least = cursor.f64() if flags & _LEAST else numbers["background"] if kept else 0.0
    snap = cursor.f64() if flags & _SNAP else 0.0
    header = Header(
        dtype=dtype, shape=(z, y, x), tile=(tz, ty, tx),
        scales=(layers >> 4 & 7) + 1, levels=layers & 15,
        frames=frames, ndim=2 if kind >> 5 & 1 else 3, swapped=bool(kind >> 4 & 1),
        dataset=dataset, target=target, bound=bound, support=support, domain=domain,
        attrs=attrs, model_name=model_name, model_sha256=sha256, model_length=model_length,
        gap=gap, extra=extra, kept=kept, least=least, snap=snap,
        capped=bool(flags & _CAPPED), **numbers,
    )  # fmt: skip
    header.check(FormatError)
    return header


def pack_front(header: Header, index: bytes, *, reserve: bool = False) -> bytes:
    """Preamble, header and ``index`` (its entries) with both checksums."""
    section = pack_header(header, reserve=reserve)
    if len(section) > MAX_HEADER or len(index) + 4 >= 1 << 32:
        raise InputError("the volume has too many tiles or attributes; use larger tiles")
    start = _PREAMBLE.pack(MAGIC, MAJOR, MINOR, len(section), len(index) + 4, 0)[:-4]
    checksum = pack_u32(zlib.crc32(section, zlib.crc32(start)))
    return b"".join((start, checksum, section, index, pack_u32(zlib.crc32(index))))


def parse_preamble(data: bytes) -> tuple[int, int, int, int]:
    """(minor, header length, index length, checksum) of the first 21 bytes."""
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError("this is not a .vc file (its first bytes are others)")
    if len(data) > len(MAGIC) and data[len(MAGIC)] != MAJOR:
        major = data[len(MAGIC)]
        if major > MAJOR:
            raise FormatError(
                f"the file is of a newer format version ({major}; this volcodec reads up to "
                f"{MAJOR}): upgrade volcodec"
            )
        raise FormatError(f"format version {major} does not exist")
    if len(data) < PREAMBLE_SIZE:
        raise FormatError("the file is truncated inside its first bytes")
    _, _, minor, header, index, checksum = _PREAMBLE.unpack(data[:PREAMBLE_SIZE])
    if header > MAX_HEADER or index < 4:
        raise FormatError("the file claims an impossible header or index")
    return minor, header, index, checksum


def _absent_numbers(domain: str) -> dict[str, float]:
    """What each of NUMBERS is where the header leaves it out."""
    return {**dict.fromkeys(NUMBERS, 0.0), "pitch": 1.0 if domain == "lattice" else 0.0}


def _bound_mode(header: Header) -> int:
    if header.bound == math.inf:
        return _BOUND_NONE
    if header.bound == header.target_value:
        return _BOUND_TARGET
    if header.bound == header.target_value * header.value_range:
        return _BOUND_RELATIVE
    return _BOUND_STORED


def _name_of(names: tuple[str, ...], number: int, what: str) -> str:
    if number >= len(names):
        raise FormatError(f"header: unknown {what} ({number})")
    return names[number]


def _pack_text(text: str) -> bytes:
    raw = text.encode("utf-8")
    return bytes((len(raw),)) + raw


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        attrs = inflater.decompress(data, MAX_ATTRS + 1)
    except zlib.error:
        raise FormatError("header: the attributes can't be decompressed") from None
    if len(attrs) > MAX_ATTRS or not inflater.eof or inflater.unused_data:
        raise FormatError("header: the attributes can't be decompressed")
    return attrs
