"""An HDF5 filter for h5py: the chunks of a dataset are written and read as .vc files.

To write, ``file.create_dataset("density", data=volume, chunks=(64, 64, 64),
**volcodec.hdf5.filter(max_error=1e-3))``; to read, import this module.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import json
import threading
import warnings
from contextlib import suppress
from typing import Any

import h5py
import numba
import numpy as np
from numba import types

from volcodec import models
from volcodec.errors import InputError
from volcodec.formats.h5 import FILTER as FILTER
from volcodec.plugins.chunks import ChunkCodec, decode_chunk
from volcodec.values import DTYPES

_MOST_WORDS = 256  # of a filter's values that HDF5 hands out
_REVERSE = 0x100  # the flag by which HDF5 asks to undo the filter


def filter(**settings: Any) -> h5py.filters.FilterRefBase:
    """The keywords of ``create_dataset`` for a dataset whose chunks volcodec codes.

    ``settings`` as for ``volcodec.plugins.chunks.ChunkCodec``, but for ``ratio`` and
    ``bits``: HDF5 stores unfiltered what a filter can't code, so that no size can be promised.
    InputError where a value is impossible. ``create_dataset`` raises ValueError for a dtype that
    volcodec doesn't take, for a model that is not at hand and for a filter before this one.
    """
    if "ratio" in settings or "bits" in settings:
        raise InputError("in HDF5 no size can be promised: give max_error, rel_error or psnr")
    return _Reference(ChunkCodec(**settings).config())


class _Reference(h5py.filters.FilterRefBase):  # type: ignore[misc]
    """The filter and its settings as h5py takes them: for ``compression=``, or as keywords.

    h5py declares it optional: where it fails, HDF5 stores the chunk unfiltered and notes that. When
    a mandatory filter fails as a file is closed, HDF5 itself crashes at the end of the process.
    """

    filter_id = FILTER

    def __init__(self, settings: dict[str, Any]) -> None:
        self.filter_options = _to_words(settings)


def _to_words(about: dict[str, Any]) -> tuple[int, ...]:
    """The filter's values in a file, 32-bit words: the size of a JSON text, then the text."""
    text = json.dumps(about, separators=(",", ":")).encode()
    return len(text), *np.frombuffer(text + bytes(-len(text) % 4), "<u4").tolist()


def _from_words(words: list[int]) -> tuple[dict[str, Any], tuple[int, ...], np.dtype[Any]]:
    """Settings, and shape and dtype of the chunks as far as HDF5 has told them yet."""
    settings = json.loads(np.array(words[1:], "<u4").tobytes()[: words[0]])
    shape, dtype = settings.pop("shape", ()), settings.pop("dtype", "u1")
    return settings, tuple(shape), np.dtype(dtype)


# ------------------------------------------------------------------ what HDF5 calls

_Handle, _Size = ctypes.c_int64, ctypes.c_size_t

# The HDF5 library that h5py is linked with, whatever its name.
_hdf5 = ctypes.CDLL(h5py.h5z.__file__)
try:
    _allocate, _free = _hdf5.H5allocate_memory, _hdf5.H5free_memory
except AttributeError:
    raise ImportError(
        "the HDF5 library of this h5py can't be reached, as on Windows: use another system, or Zarr"
    ) from None
_allocate.restype, _allocate.argtypes = ctypes.c_void_p, (_Size, ctypes.c_bool)
_free.restype, _free.argtypes = ctypes.c_int, (_Size,)


@ctypes.CFUNCTYPE(ctypes.c_int, _Handle, _Handle, _Handle)
def _set_local(plist: int, datatype: int, dataspace: int) -> int:
    """Note in the filter's values what the chunks of a new dataset are; -1: it can't be coded."""
    try:
        flags, count, words = ctypes.c_uint(), _Size(_MOST_WORDS), (ctypes.c_uint * _MOST_WORDS)()
        _hdf5.H5Pget_filter_by_id2(
            _Handle(plist), FILTER, ctypes.byref(flags), ctypes.byref(count), words, _Size(0),
            None, None,
        )  # fmt: skip
        settings, _, _ = _from_words(words[: count.value])
        shape, dtype = _chunks(plist, datatype)
        codec = ChunkCodec(**settings)
        codec.check(dtype)
        models.load(codec.model)
        new = _to_words(settings | {"shape": shape, "dtype": dtype.str})
        return _hdf5.H5Pmodify_filter(
            _Handle(plist), FILTER, flags, _Size(len(new)), (ctypes.c_uint * len(new))(*new)
        )
    except BaseException as error:  # nothing can be raised through C
        reason = str(error) or repr(error)
    # Not before the frames of the error are gone: the handles that they hold clear HDF5's stack.
    _push(reason)
    return -1


def _chunks(plist: int, datatype: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a dataset's chunks, of handles that stay HDF5's own."""
    properties, stored = h5py.h5p.PropDCID(plist), h5py.h5t.TypeID(datatype)
    for handle in (properties, stored):
        h5py.h5i.inc_ref(handle)  # released with the object
    if properties.get_filter(0)[0] != FILTER:
        raise InputError("volcodec has to be the first filter: leave out shuffle and scaleoffset")
    for dtype in (*DTYPES, *(native.newbyteorder() for native in DTYPES)):
        if stored.equal(h5py.h5t.py_create(dtype)):
            return properties.get_chunk(), dtype
    raise InputError(
        "volcodec takes 8 to 32-bit integers and 16 to 64-bit floats: convert the data to one of "
        "them, or leave the filter out"
    )


def _push(reason: str) -> None:
    """Put an error on HDF5's stack, for h5py to raise."""
    kind, major, minor = (
        _Handle.in_dll(_hdf5, f"H5E_{name}_g") for name in ("ERR_CLS", "PLINE", "CANTFILTER")
    )
    text = reason.replace("%", "%%").encode()
    _hdf5.H5Epush2(
        _Handle(0), __name__.encode(), b"set_local", ctypes.c_uint(0), kind, major, minor, text
    )


@ctypes.CFUNCTYPE(None, ctypes.c_uint, _Size, _Size, _Size, _Size, _Size)
def _work(flags: int, count: int, words: int, size: int, memory: int, out: int) -> None:
    """Code or decode the chunk at address ``memory``; address and size of the result to ``out``."""
    try:
        settings, shape, dtype = _from_words((ctypes.c_uint * count).from_address(words)[:])
        stored = memoryview((ctypes.c_ubyte * size).from_address(memory))
        # One thread: when Python ends, and files are closed, there are no others to be had.
        if flags & _REVERSE:
            new = decode_chunk(stored, shape, dtype, threads=1).tobytes()
        else:
            chunk = np.frombuffer(stored, dtype).reshape(shape)
            new = ChunkCodec(**settings).encode_chunk(chunk, threads=1)
        address = _allocate(len(new), False)
        if address is None:
            raise MemoryError(f"{len(new)} bytes")
        ctypes.memmove(address, new, len(new))
        result = (_Size * 2).from_address(out)
        result[0] = address
        result[1] = len(new)
    except BaseException as error:  # nothing can be raised through C
        what = "can't be read" if flags & _REVERSE else "is stored without compression"
        with suppress(Warning):  # as which a filter of warnings may raise it
            warnings.warn(f"a chunk {what}: {error!r}", RuntimeWarning, stacklevel=2)
        if isinstance(error, KeyboardInterrupt):  # again, when HDF5 is done
            threading.Timer(0.01, _thread.interrupt_main).start()


@numba.cfunc(
    types.uint64(
        types.uint32, types.uint64, types.uint64, types.uint64, types.CPointer(types.uint64),
        types.CPointer(types.uint64),
    )
)  # fmt: skip
def _filter(flags: int, count: int, words: int, size: int, room: Any, buffer: Any) -> int:
    """H5Z_func_t: replace what is in the buffer, all or nothing; 0 where it can't be.

    Compiled, because an interrupt may end Python code between any two steps, and then HDF5
    would free memory twice or take for a size what no one had set.
    """
    out = np.zeros(2, np.uint64)  # address and size
    memory = numba.carray(buffer, 1)
    _work(flags, count, words, size, memory[0], out.ctypes.data)
    if out[1] > 0:
        _free(memory[0])
        memory[0] = out[0]
        numba.carray(room, 1)[0] = out[1]
    return out[1]


class _Class(ctypes.Structure):
    """H5Z_class2_t."""

    _fields_ = (
        ("version", ctypes.c_int),
        ("id", ctypes.c_int),
        ("encoder_present", ctypes.c_uint),
        ("decoder_present", ctypes.c_uint),
        ("name", ctypes.c_char_p),
        ("can_apply", ctypes.c_void_p),
        ("set_local", type(_set_local)),
        ("filter", ctypes.c_void_p),
    )


_class = _Class(1, FILTER, 1, 1, b"volcodec", None, _set_local, _filter.address)
h5py.h5z.register_filter(ctypes.addressof(_class))


@atexit.register
def _flush() -> None:
    """Write what files that are still open hold back: later no Python is left to filter it."""
    for file in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        h5py.h5f.flush(file)
