"""The bytes of one scale: offsets, expectations, choice of tables, rANS states and words.

See "Scales" in docs/format.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import FormatError
from . import rans, trellis
from .classic import CONTEXTS
from .expectation import COUNT, KNOWN, NONE, OWN_WEIGHTS, Signs
from .picks import whole_mapping
from .runs import NO_RUNS, LevelRuns, Runs, Weights, compact, weigh
from .tables import COST_BITS, Tables

_LANES_LOG2 = 0x07
_MAPPED = 0x08
_OFFSETS = 0x10
_EXPECTS = 0x20
_LIMITED = 0x40
KEPT = 0x80
_LIMITS = 8  # bytes of the least and the largest value
NO_OFFSET = 128
BANDS = 7  # that may have weights: all but the low band
_NO_WORDS = np.empty(0, np.uint16)


def lanes_log2(payload: int, classical: bool) -> int:
    """Lanes, as a power of two, for so many bytes of words.

    Each takes two bytes or three. ``classical`` streams, which are for speed, have more of them:
    a device takes the symbols of all lanes in the time of one.
    """
    if payload < 1024:
        return 0
    if classical:
        return 4 if payload < 4096 else 5
    return 2 if payload < 8192 else 3 if payload < 1 << 16 else 5


class Plan:
    """How a scale would be written by one path, and how many bytes that would take."""

    def __init__(
        self, levels: list[LevelRuns], tables: Tables, signs: Signs, classical: bool, lossy: bool,
        limits: np.ndarray | None = None, kept: np.ndarray | None = None, first: bool = True,
    ) -> None:  # fmt: skip
        """``kept``: limits that predictions are kept within, which the ``first`` scale states."""
        self.kept = first and kept is not None
        stated = kept is None or first
        told = 0
        if limits is not None and not classical:
            told = sum(int(np.count_nonzero(m.runs.known.view(bool))) for m in levels)
        self.limited = told > (8 * _LIMITS if kept is None else 0)
        self.levels, self.tables, self.signs, self.classical = levels, tables, signs, classical
        self.dependent = any(m.runs.quantisers.size for m in levels)
        # where the second quantiser's tables begin; the classical ones serve both
        self.second = len(tables) // 2 if self.dependent and not classical else 0
        self.bytes = 0
        count = self.second or len(tables)
        found = [weigh(m, tables, signs, classical, count) for m in levels]
        self.maps = [mapping for mapping, _, _ in found]
        self.skip = min(least for _, _, least in found)
        self.empty = not self.kept and self.skip == count
        if self.empty:
            return
        backs = b"".join(bytes(m.back) for m in levels)
        self.offsets = lossy and any(b != NO_OFFSET for b in backs)
        self.head = backs if self.offsets else b""
        if (self.limited or self.kept) and stated:
            values = limits if kept is None else kept
            assert values is not None
            self.head += values.astype("<i4").tobytes()
        self.expects = any(m.weights for m in levels)
        if self.expects:
            self.head += b"".join(expectations(m, lossy) for m in levels)
        if classical:
            self.head += b"".join(mapping.tobytes() for mapping in self.maps)
        names = np.arange(count)
        self.exceptions = not classical and any((m != names).any() for m in self.maps)
        if self.exceptions:
            for mapping in self.maps:
                changed = np.flatnonzero(mapping != names)
                pairs = np.stack([changed, mapping[changed]], axis=1).astype(np.uint8)
                self.head += bytes([changed.size]) + pairs.tobytes()
        units = sum(cost for _, cost, _ in found) - (told << COST_BITS if self.limited else 0)
        payload = units // (8 << COST_BITS)
        self.lanes_log2 = lanes_log2(payload, classical)
        self.bytes = 2 + len(self.head) + (4 << self.lanes_log2) + payload

    def write(self) -> bytes:
        """The stream."""
        if self.empty:
            return b""
        lanes = 1 << self.lanes_log2
        states = np.zeros(rans.MAX_LANES, np.int64)
        words = self._dependent(lanes, states) if self.dependent else self._plain(lanes, states)
        flags = self.lanes_log2 | (_MAPPED if self.exceptions else 0)
        flags |= (_OFFSETS if self.offsets else 0) | (_EXPECTS if self.expects else 0)
        flags |= (_LIMITED if self.limited else 0) | (KEPT if self.kept else 0)
        head = bytes([flags, self.skip]) + self.head
        return head + states[:lanes].astype("<u4").tobytes() + words.astype("<u2").tobytes()

    def _keys(self, runs: Runs) -> np.ndarray:
        return runs.classic if self.classical else runs.learned

    def _own(self, runs: Runs) -> np.ndarray:
        """Keys among the tables of both quantisers."""
        keys = self._keys(runs)
        return keys + np.uint8(self.second) * runs.quantisers if self.second else keys

    def _dependent(self, lanes: int, states: np.ndarray) -> np.ndarray:
        """The words of symbols that a trellis decided."""
        tables, keys, ends = [], [], []
        base = 0
        for m, mapping in zip(self.levels, self.maps, strict=True):
            t = mapping[self._keys(m.runs)]
            coded = t + np.uint8(self.second) * m.runs.quantisers
            tables.append(
                np.where(t < self.skip, np.int16(trellis.SKIPPED), coded.astype(np.int16))
            )
            keys.append(self._own(m.runs))
            ends.append(m.runs.ends + base)
            base += t.size
        symbols = np.concatenate([m.runs.symbols for m in self.levels])
        signs = rans.RAW_SIGNS
        if self.expects and not self.classical:
            rests = np.concatenate([m.runs.rests for m in self.levels])
            signs = (rests, np.concatenate(keys), self.signs.freq)
        words = np.empty(5 * symbols.size + 8, np.uint16)
        t = self.tables
        first = trellis.encode_runs(
            symbols, np.concatenate(tables), np.concatenate(ends), lanes, t.freq, t.start, *signs,
            words, states,
        )  # fmt: skip
        return words[first:]

    def _plain(self, lanes: int, states: np.ndarray) -> np.ndarray:
        """The words of symbols that were decided one by one."""
        size = sum(m.runs.symbols.size for m in self.levels)
        signed = (self.expects or self.limited) and not self.classical
        symbols = np.empty(size, np.int32)
        tables = np.empty(size, np.uint8)
        ends = np.empty(sum(m.runs.ends.size for m in self.levels), np.int64)
        sides = np.empty(size if signed else 0, np.int8)
        indices = np.empty(sides.size, np.uint8)
        n = r = 0
        for m, short in zip(self.levels, self.maps, strict=True):
            runs, rests = m.runs, m.runs.rests
            if self.limited and runs.known.size:
                rests = np.where(runs.known, np.int8(KNOWN), rests)
            here = ends[r : r + runs.ends.size]
            found = compact(
                runs.symbols, self._keys(runs), rests, runs.ends, whole_mapping(short), self.skip,
                signed, symbols[n:], tables[n:], indices[n:], sides[n:], here,
            )  # fmt: skip
            here += n
            n += found
            r += runs.ends.size
        words = np.empty(5 * n + 8, np.uint16)
        t = self.tables
        signs = (sides[:n], indices[:n], self.signs.freq) if signed else rans.RAW_SIGNS
        first = rans.encode_runs(
            symbols[:n],
            tables[:n],
            ends,
            lanes,
            t.freq,
            t.start,
            *signs,
            self.limited,
            words,
            states,
        )
        return words[first:]


def expectations(m: LevelRuns, lossy: bool) -> bytes:
    """A byte that says which bands expect something, then a code each and weights of their own."""
    out = bytes([sum(1 << (band - 1) for band in m.weights)])
    if m.weights and lossy:
        out += bytes([m.share])
    for _, (code, weights) in sorted(m.weights.items()):
        out += bytes([code]) + (weights.tobytes() if code == OWN_WEIGHTS else b"")
    return out


def read_expectations(
    data: bytes, at: int, codebook: np.ndarray, lossy: bool
) -> tuple[dict[int, Weights], int, int]:
    """The weights of a level's bands and its share from ``at`` on, and where they end."""
    out: dict[int, Weights] = {}
    share = 0
    mask = data[at]
    at += 1
    if mask >> BANDS:
        raise FormatError("a scale gives weights to a band that does not exist")
    if mask and lossy:
        share = data[at]
        at += 1
    for band in range(1, BANDS + 1):
        if not mask >> (band - 1) & 1:
            continue
        code = data[at]
        at += 1
        if code == OWN_WEIGHTS:
            out[band] = code, np.frombuffer(data, np.int8, COUNT, at)
            at += COUNT
        elif NONE < code <= codebook.shape[1]:
            out[band] = code, codebook[band - 1, code - 1]
        else:
            raise FormatError("a scale names weights that its model lacks")
    return out, share, at


class StreamReader:
    """Reads what a stream begins with and keeps the place of its rANS words.

    ``words`` is None where the stream is empty, which says that every symbol is zero. ``tables``:
    how many there are to choose from. ``kept``: limits that predictions are kept within, None where
    there are none; the ``first`` stream of a tile says, to the others it is given.
    """

    def __init__(
        self, data: bytes, levels: int, tables: int, codebook: np.ndarray, classical: bool,
        lossy: bool, predicted: bool = False, kept: np.ndarray | None = None, first: bool = True,
    ) -> None:  # fmt: skip
        self.kept = kept
        self.words: np.ndarray | None = None
        self.back = [(128, 128)] * levels
        self.limits: np.ndarray | None = None
        self.share = [0] * levels
        self.weights: list[dict[int, Weights]] = [{} for _ in range(levels)]
        self.mapping: list[np.ndarray] = []
        self.position = 0
        if not data:
            return
        try:
            flags, self.skip = data[0], data[1]
            at = 2
            allowed = _LANES_LOG2 | (0 if classical else _MAPPED) | (_OFFSETS if lossy else 0)
            allowed |= _EXPECTS | (_LIMITED if predicted and not classical else 0)
            allowed |= KEPT if predicted and first else 0
            if flags & ~allowed or flags & _LANES_LOG2 > 5:
                raise FormatError("a scale begins with flags that are not defined")
            if flags & _OFFSETS:
                self.back = [(data[at + 2 * i], data[at + 2 * i + 1]) for i in range(levels)]
                at += 2 * levels
            if flags & (_LIMITED | KEPT):
                limits = kept
                if limits is None:
                    limits = np.frombuffer(data, "<i4", 2, at).astype(np.int64)
                    at += _LIMITS
                self.limits = limits if flags & _LIMITED else None
                self.kept = limits if flags & KEPT else kept
                if flags & KEPT and limits[0] > limits[1]:
                    raise FormatError("limits are the wrong way round")
            if flags & _EXPECTS:
                for i in range(levels):
                    self.weights[i], self.share[i], at = read_expectations(
                        data, at, codebook, lossy
                    )
            for _ in range(levels):
                if classical:
                    mapping = np.frombuffer(data, np.uint8, CONTEXTS, at).copy()
                    at += CONTEXTS
                else:
                    mapping = np.arange(tables, dtype=np.uint8)
                    if flags & _MAPPED:
                        count = data[at]
                        pairs = np.frombuffer(data, np.uint8, 2 * count, at + 1).reshape(-1, 2)
                        at += 1 + 2 * count
                        if count and pairs.max() >= tables:
                            raise FormatError("a scale names a table that its model lacks")
                        mapping[pairs[:, 0]] = pairs[:, 1]
                if mapping.max() >= tables:
                    raise FormatError("a scale names a table that does not exist")
                self.mapping.append(mapping)
            self.lanes = 1 << (flags & _LANES_LOG2)
            states = np.frombuffer(data, "<u4", self.lanes, at).astype(np.int64)
            at += 4 * self.lanes
            if (len(data) - at) % 2:
                raise FormatError("a scale ends in half a word")
            if (states < rans.LOW).any():
                raise FormatError("a scale begins with an impossible state")
        except (IndexError, ValueError):
            raise FormatError("a scale is shorter than its own beginning says") from None
        self.states = np.zeros(rans.MAX_LANES, np.int64)
        self.states[: self.lanes] = states
        self.words = np.frombuffer(data, "<u2", (len(data) - at) // 2, at).astype(np.uint16)

    def begun(self, level: int) -> tuple[Any, ...]:
        """Words, the place of the next, states and lanes (0: all symbols are zero), the table from
        which symbols are coded, and the mapping to tables of one of the levels, as kernels take
        them."""
        if self.words is None:
            return _NO_WORDS, 0, NO_RUNS.ends, 0, 0, NO_RUNS.learned
        return (
            self.words, self.position, self.states, self.lanes, self.skip, self.mapping[level]
        )  # fmt: skip

    def check_room(self) -> None:
        """FormatError where more words were asked for than there are."""
        if self.words is not None and self.position > self.words.size:
            raise FormatError("a scale ends early")

    def check(self) -> None:
        """FormatError unless exactly all words were read and the states are back at the start."""
        if self.words is None:
            return
        if self.position != self.words.size or (self.states[: self.lanes] != rans.LOW).any():
            raise FormatError("a scale does not decode to its own end")
