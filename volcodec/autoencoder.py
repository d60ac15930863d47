"""The autoencoder as a base of a tile: integers from end to end, so that all machines agree.

The encoder of a UNet without skip connections turns a tile into latents y, a hyper-encoder turns
those into z (Balle et al., arXiv 1802.01436). z is coded with a table for each channel; from z the
hyper-decoder tells the table of each y; from y the decoder makes the base. What is left of the tile
is coded as without an autoencoder, so every promise is kept by the same means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .entropy import rans
from .entropy.tables import Tables
from .errors import FormatError
from .transform import network
from .transform.network import Layer, Triple

DOORS: tuple[Triple, ...] = ((4, 4, 4), (1, 4, 4))  # voxels that become channels, 3-D and 2-D
INPUT = 1023  # the range of a volume becomes 0..INPUT
LATENT = 511  # largest magnitude of a scaled y where it enters the decoder
SYMBOL = 255  # largest magnitude of a symbol that enters a network
BACK_BITS = 16  # of the gains back
SCALES = 64  # tables of y, after which those of z's channels follow
RATES = 16  # gains are kept for so many rates, from coarse to fine
LAMBDAS = (100.0, 30000.0)  # of the coarsest and the finest: bits per voxel over squared error
NETWORKS = ("encoder", "hyper_encoder", "hyper_decoder", "decoder")
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Autoencoder:
    """The networks of a model, its tables and gains.

    ``gain`` (RATES, M) float64 multiplies what the encoder makes, before it is rounded; ``back``
    (RATES, M) int64, over 2**BACK_BITS, the symbols before the decoder; ``unit`` is what one of the
    decoder's sums is worth, as a share of the volume's range.
    """

    networks: dict[str, tuple[Layer, ...]]
    tables: Tables
    gain: np.ndarray
    back: np.ndarray
    unit: float
    door: Triple = DOORS[0]

    def check(self) -> None:
        """ValueError where the parts don't fit or a sum could be inexact."""
        latents = self.gain.shape[1]
        if self.door not in DOORS:
            raise ValueError("the autoencoder has a door of another size")
        inside = int(np.prod(self.door))
        n = self.networks
        hyper = network.check(n["hyper_encoder"], latents, SYMBOL)
        found = (
            network.check(n["encoder"], inside, INPUT),
            network.check(n["hyper_decoder"], hyper, SYMBOL),
            network.check(n["decoder"], latents, LATENT),
        )
        if found != (latents, latents, inside):
            raise ValueError("the networks of the autoencoder don't fit each other")
        if len(self.tables) != SCALES + hyper:
            raise ValueError("the autoencoder has another number of tables than channels")
        if self.gain.shape != (RATES, latents) or self.back.shape != (RATES, latents):
            raise ValueError("the gains of the autoencoder have another shape")
        if (np.abs(self.back) >= 1 << 31).any() or not np.isfinite(self.gain).all():
            raise ValueError("the gains of the autoencoder are out of range")

    @property
    def hyper(self) -> int:
        """Channels of z."""
        return len(self.tables) - SCALES

    def _grid(self, shape: tuple[int, ...]) -> list[int]:
        """Places of z along each axis: one for 16 voxels where the networks reduce the axis."""
        return [-(-n // (4 * d)) if d > 1 else n for n, d in zip(shape, self.door, strict=True)]

    # ---------------------------------------------------------------- tile and latents

    def encode(self, share: np.ndarray, rate: int) -> tuple[bytes, np.ndarray]:
        """The stream of a tile and its base.

        ``share`` (float64, (Z, Y, X)): the values as shares of the range, mostly in 0..1. The base
        is what :meth:`decode` returns.
        """
        x = np.clip(np.rint(share * INPUT), 0, INPUT).astype(np.float32)
        x = np.pad(
            x,
            [(0, -n % (4 * d if d > 1 else 1)) for n, d in zip(x.shape, self.door, strict=True)],
            mode="edge",
        )
        y = network.run(self.networks["encoder"], network.gather(x[None], self.door))
        scaled = y * self.gain[rate][:, None, None, None]
        symbols = np.clip(np.rint(scaled), -SYMBOL, SYMBOL).astype(np.int32)
        z = network.run(self.networks["hyper_encoder"], symbols.astype(np.float32))
        z = np.clip(z, -SYMBOL, SYMBOL).astype(np.int32)
        both = np.concatenate([z.reshape(-1), symbols.reshape(-1)])
        tables = np.concatenate([self._z_tables(z.shape), self._y_tables(z)])
        lanes = 0 if both.size < 1 << 12 else 3 if both.size < 1 << 16 else 5
        states = np.zeros(rans.MAX_LANES, np.int64)
        words = np.empty(5 * both.size + 8, np.uint16)
        ends = np.array([z.size, both.size], np.int64)
        first = rans.encode_runs(
            both, tables, ends, 1 << lanes, self.tables.freq, self.tables.start, *rans.RAW_SIGNS,
            False, words, states,
        )  # fmt: skip
        stream = bytes([rate, lanes]) + states[: 1 << lanes].astype("<u4").tobytes()
        stream += words[first:].astype("<u2").tobytes()
        return stream, self._base(symbols, rate, share.shape)  # type: ignore[arg-type]

    def decode(self, stream: bytes, shape: Shape) -> np.ndarray:
        """The base of a tile (float64, shares of the range); FormatError for other bytes."""
        if len(stream) < 2 or stream[0] >= RATES or stream[1] > 5:
            raise FormatError("latents begin with what is not defined")
        rate, lanes = stream[0], 1 << stream[1]
        body = len(stream) - 2 - 4 * lanes
        if body < 0 or body % 2:
            raise FormatError("latents are shorter than their own beginning says")
        states = np.zeros(rans.MAX_LANES, np.int64)
        states[:lanes] = np.frombuffer(stream, "<u4", lanes, 2)
        if (states[:lanes] < rans.LOW).any():
            raise FormatError("latents begin with an impossible state")
        words = np.frombuffer(stream, "<u2", offset=2 + 4 * lanes).astype(np.uint16)
        z_shape = (self.hyper, *self._grid(shape))
        t = self.tables
        tables = self._z_tables(z_shape)
        z = np.empty(tables.size, np.int32)
        raw = (*rans.RAW_SIGNS, *rans.NO_ROOMS)
        at = rans.decode_run(words, 0, states, lanes, tables, t.freq, t.start, t.slots, *raw, z)
        if (np.abs(z.astype(np.int64)) > SYMBOL).any():
            raise FormatError("latents are larger than any encoder makes them")
        tables = self._y_tables(z.reshape(z_shape))
        y = np.empty(tables.size, np.int32)
        at = rans.decode_run(words, at, states, lanes, tables, t.freq, t.start, t.slots, *raw, y)
        if at != words.size or (states[:lanes] != rans.LOW).any():
            raise FormatError("latents do not decode to their own end")
        if (np.abs(y.astype(np.int64)) > SYMBOL).any():
            raise FormatError("latents are larger than any encoder makes them")
        finer = [2 * n if d > 1 else n for n, d in zip(z_shape[1:], self.door, strict=True)]
        return self._base(y.reshape(-1, *finer), rate, shape)

    def _z_tables(self, shape: tuple[int, ...]) -> np.ndarray:
        channels = np.arange(SCALES, SCALES + self.hyper, dtype=np.uint8)
        return np.repeat(channels, int(np.prod(shape[1:])))

    def _y_tables(self, z: np.ndarray) -> np.ndarray:
        places = network.run(self.networks["hyper_decoder"], z.astype(np.float32))
        return np.clip(places, 0, SCALES - 1).astype(np.uint8).reshape(-1)

    def _base(self, y: np.ndarray, rate: int, shape: Shape) -> np.ndarray:
        """From symbols (M, Z / 8, ...) to the base of a tile."""
        scaled = (y.astype(np.int64) * self.back[rate][:, None, None, None]) >> BACK_BITS
        x = np.clip(scaled, -LATENT, LATENT).astype(np.float32)
        sums = network.run(self.networks["decoder"], x)
        z, y_, x_ = shape
        return network.spread(sums, self.door)[0, :z, :y_, :x_].astype(np.float64) * self.unit
