"""Other codecs behind one interface. A new one is a subclass of Peer and a line in ALL."""

from __future__ import annotations

from .base import LOSSLESS, MAX_ERROR, PSNR, QUALITY, Peer
from .bounded import Sperr, Sz3, Zfp
from .lossless import Blosc2, Hdf5Gzip, Pcodec
from .slices import Htj2k, Jpeg2000, JpegXl
from .tthresh import Tthresh

__all__ = ["ALL", "LOSSLESS", "MAX_ERROR", "PSNR", "QUALITY", "Peer", "named"]

ALL: tuple[Peer, ...] = (
    Sperr(),
    Sz3(),
    Zfp(),
    Tthresh(),
    Blosc2("blosc2", "bitshuffle"),
    Blosc2("blosc2-shuffle", "shuffle"),
    Pcodec(),
    Hdf5Gzip(),
    Jpeg2000(),
    Htj2k(),
    JpegXl(),
)


def named(name: str) -> Peer:
    """The peer of this name; raises KeyError with the names there are."""
    for peer in ALL:
        if peer.name == name:
            return peer
    raise KeyError(f"no peer {name!r}; there are {', '.join(peer.name for peer in ALL)}")
