"""volcodec compresses 3-D density volumes with a learned codec that keeps its promises.

``encode(volume) -> bytes`` and ``decode(bytes) -> volume``; see Codec for the options.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import FormatError, InputError, ModelError, VolcodecError

if TYPE_CHECKING:  # what __getattr__ imports, for type checkers, editors and the reference
    from . import dask as dask
    from . import hdf5 as hdf5
    from . import models
    from .codec import Codec, decode, encode
    from .files import compress, decompress
    from .inspection import inspect
    from .verification import verify

__version__ = "0.1.0"

_LAZY = {
    "Codec": "codec",
    "encode": "codec",
    "decode": "codec",
    "inspect": "inspection",
    "compress": "files",
    "decompress": "files",
    "verify": "verification",
}
_SUBMODULES = ("dask", "hdf5", "models")
__all__ = [
    "Codec",
    "FormatError",
    "InputError",
    "ModelError",
    "VolcodecError",
    "compress",
    "decode",
    "decompress",
    "encode",
    "inspect",
    "models",
    "verify",
]


def __getattr__(name: str) -> Any:
    # heavy modules are imported at the first use (PEP 562)
    if name in _SUBMODULES:
        return import_module(f".{name}", __name__)
    if name in _LAZY:
        value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
