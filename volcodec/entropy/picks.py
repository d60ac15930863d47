"""Which symbols of a class are coded, and their values side by side; and back.

The loops go by vectors of sixteen where the processor can, written in LLVM's own language.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..kernel import inlined, kernel
from ..vectors import I8, I16, I32, I64, Array, load, processor, same, splat, store

LANES = 16
FEW = 64  # keys that are looked up at once
_WORDS, _BYTES = (ir.VectorType(t, LANES) for t in (I32, I8))
_PAIRS = ir.VectorType(I16, 2 * LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)


def _all(value: int) -> Any:
    return same(_WORDS, value)


def _call(b: Any, name: str, *given: Any) -> Any:
    """A function of the processor that makes what it is given first."""
    kind = ir.FunctionType(given[0].type, [a.type for a in given])
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.x86.avx512.{name}"), given)


def _words(b: Any, array: Array, at: Any) -> Any:
    """Sixteen elements of 32 or of 8 bits."""
    pointer = array.at(at)
    if array.element == I8:
        return b.zext(load(b, pointer, _BYTES), _WORDS)
    return load(b, pointer, _WORDS)


def _keep(b: Any, words: Any, array: Array, at: Any) -> None:
    """The inverse of :func:`_words`."""
    pointer = array.at(at)
    store(b, b.trunc(words, _BYTES) if array.element == I8 else words, pointer)


def _block(kinds: str, body: Any) -> Any:
    """An intrinsic of arrays (a) and integers (n), whose ``body`` returns a place; -1 where the
    processor can't."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        if "+avx512bw" not in processor(context):
            return I64(-1)
        values = [
            Array(context, b, kind, value) if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, arguments, strict=True)
        ]
        return body(b, *values)

    def typed(*given: Any) -> Any:
        kept = (g if k == "a" else types.intp for g, k in zip(given, kinds, strict=True))
        return types.int64(*kept), generate

    return typed


def _count(b: Any, chosen: Any) -> Any:
    return b.zext(b.ctpop(b.bitcast(chosen, I16)), I64)


def _listed(
    b: Any, keys: Array, first: Any, mapping: Array, skip: Any, m: Any, masks: Array, tables: Array
) -> Any:
    key = b.bitcast(_words(b, keys, first), _PAIRS)
    low, high = (load(b, mapping.at(I64(half)), _PAIRS) for half in (0, FEW // 2))
    looked_up = b.bitcast(_call(b, "vpermi2var.hi.512", low, key, high), _WORDS)
    table = b.and_(looked_up, _all(0xFFFF))
    chosen = b.icmp_signed(">=", table, splat(b, b.trunc(skip, I32), LANES))
    b.store(b.bitcast(chosen, I16), masks.at(b.lshr(first, I64(4))))
    _keep(b, _call(b, "mask.compress.v16i32", table, _all(0), chosen), tables, m)
    return b.add(m, _count(b, chosen))


def _picked(b: Any, values: Array, first: Any, masks: Array, out: Array, m: Any) -> Any:
    chosen = b.bitcast(b.load(masks.at(b.lshr(first, I64(4)))), _BITS)
    words = _words(b, values, first)
    _keep(b, _call(b, "mask.compress.v16i32", words, _all(0), chosen), out, m)
    return b.add(m, _count(b, chosen))


def _spread(b: Any, values: Array, m: Any, masks: Array, out: Array, first: Any) -> Any:
    chosen = b.bitcast(b.load(masks.at(b.lshr(first, I64(4)))), _BITS)
    words = _words(b, values, m)
    _keep(b, _call(b, "mask.expand.v16i32", words, _all(0), chosen), out, first)
    return b.add(m, _count(b, chosen))


@intrinsic  # type: ignore[misc]
def _list_block(
    typingctx: Any, keys: Any, first: Any, mapping: Any, skip: Any, m: Any, masks: Any, tables: Any
) -> Any:
    """:func:`list_coded` for sixteen keys from ``first`` on, after ``m`` that were found."""
    return _block("anannaa", _listed)(keys, first, mapping, skip, m, masks, tables)


@intrinsic  # type: ignore[misc]
def _pick_block(typingctx: Any, values: Any, first: Any, masks: Any, out: Any, m: Any) -> Any:
    """:func:`pick` for sixteen values from ``first`` on, after ``m`` that were picked."""
    return _block("anaan", _picked)(values, first, masks, out, m)


@intrinsic  # type: ignore[misc]
def _spread_block(typingctx: Any, values: Any, m: Any, masks: Any, out: Any, first: Any) -> Any:
    """The inverse."""
    return _block("anaan", _spread)(values, m, masks, out, first)


@kernel()
def list_coded(
    keys: np.ndarray, mapping: np.ndarray, skip: int, masks: np.ndarray, tables: np.ndarray
) -> int:
    """Which symbols are coded, as the bits of ``masks`` (uint16, sixteen each), and their tables
    (uint8) side by side; how many.

    ``keys`` (uint8) become tables by ``mapping`` (see :func:`whole_mapping`); those below ``skip``
    are not coded. ``tables`` has room for as many as there are keys.
    """
    m = 0
    for first in range(0, keys.size, LANES):
        found = np.int64(-1)
        if first + LANES <= keys.size and mapping.size == FEW:
            found = _list_block(keys, first, mapping, skip, m, masks, tables)
        if found >= 0:
            m = found
            continue
        bits = 0
        for i in range(first, min(first + LANES, keys.size)):
            k = mapping[keys[i]]
            tables[m] = k
            bits |= np.int64(k >= skip) << (i - first)
            m += k >= skip
        masks[first // LANES] = bits
    return m


@kernel()
def pick(values: np.ndarray, masks: np.ndarray, out: np.ndarray) -> None:
    """The values (of 32 or 8 bits) that ``masks`` name, side by side."""
    m = 0
    for first in range(0, values.size, LANES):
        found = np.int64(-1)
        if first + LANES <= values.size and m + LANES <= out.size:
            found = _pick_block(values, first, masks, out, m)
        if found >= 0:
            m = found
            continue
        bits = np.int64(masks[first // LANES])
        for i in range(first, min(first + LANES, values.size)):
            if bits >> (i - first) & 1:
                out[m] = values[i]
                m += 1


@kernel()
def spread(values: np.ndarray, masks: np.ndarray, out: np.ndarray) -> None:
    """The inverse: values back to the places that ``masks`` name, and zeros to the others."""
    m = 0
    for first in range(0, out.size, LANES):
        found = np.int64(-1)
        if first + LANES <= out.size and m + LANES <= values.size:
            found = _spread_block(values, m, masks, out, first)
        if found >= 0:
            m = found
            continue
        bits = np.int64(masks[first // LANES])
        for i in range(first, min(first + LANES, out.size)):
            named = bits >> (i - first) & 1
            out[i] = values[m] if named else 0
            m += named


@inlined()
def _bits_of(mask: int) -> int:
    """How many of sixteen bits are set."""
    pairs = mask - ((mask >> 1) & 0x5555)
    fours = (pairs & 0x3333) + ((pairs >> 2) & 0x3333)
    eights = (fours + (fours >> 4)) & 0x0F0F
    return (eights + (eights >> 8)) & 0x1F


@kernel()
def count_before(masks: np.ndarray, ends: np.ndarray, out: np.ndarray) -> None:
    """How many places before each of the ``ends`` (rising) the ``masks`` name."""
    i = m = 0
    for r in range(ends.size):
        while i < ends[r]:
            if i % LANES == 0 and i + LANES <= ends[r]:
                m += _bits_of(np.int64(masks[i // LANES]))
                i += LANES
            else:
                m += np.int64(masks[i // LANES]) >> (i % LANES) & 1
                i += 1
        out[r] = m


@numba.njit(cache=True, nogil=True)
def whole_mapping(mapping: np.ndarray) -> np.ndarray:
    """A ``mapping`` of keys to tables (uint8) as :func:`list_coded` takes it, int16."""
    out = np.zeros(FEW if mapping.size <= FEW else 256, np.int16)
    out[: mapping.size] = mapping
    return out
