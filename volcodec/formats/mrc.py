"""MRC and CCP4 maps (`.mrc`, `.ccp4`, `.map`) by mrcfile, mapped and not loaded."""

from __future__ import annotations

import os
import tempfile
from typing import Any, BinaryIO

import numpy as np

from volcodec.errors import FormatError, InputError
from volcodec.formats import Place, attributes, place_name
from volcodec.formats.base import Sink, Source, readable, reason
from volcodec.formats.geometry import Geometry, geometry_of
from volcodec.formats.mapped import MappedSink, series_of

try:
    import mrcfile
except ImportError as missing:
    raise InputError("MRC and CCP4 maps need mrcfile: pip install 'volcodec[mrc]'") from missing

HEADER = "mrc_header"  # the attribute: the header and the extended header
_SIZE = 1024
_FAR = 2**31 - 1
_DTYPES = ("i1", "i2", "u2", "f2", "f4")  # of the standard: mrcfile would widen uint8


def open_series(path: Place, dataset: str | None = None) -> list[Source]:
    """Open a map to read: sections, rows and columns as they lie, whatever axes they are.

    A stack of volumes is a series. Raises InputError where it is damaged or complex.
    """
    where = place_name(path)
    name = readable(path)  # type: ignore[arg-type]
    try:
        with mrcfile.mmap(name, "r") as file:
            header, array = file.header.copy(), np.asanyarray(file.data)
            raw = header.tobytes() + file.extended_header.tobytes()
    except MemoryError:
        raise
    except Exception as error:  # of mrcfile and NumPy: all mean that it is damaged
        raise InputError(f"{where} is not a readable MRC file: {reason(error)}") from error
    attrs = _geometry(header, array.shape).attrs()
    attrs[HEADER] = attributes.pack(np.frombuffer(raw, np.uint8))
    return series_of(where, array, dataset, attrs)


def _geometry(header: Any, shape: tuple[int, ...]) -> Geometry:
    """Return spacing and affine in angstrom; no affine where the axes are permuted."""
    with np.errstate(all="ignore"):  # a grid of nothing: then there is no spacing
        cell = np.array([float(header.cella[axis]) for axis in "xyz"])
        size = cell / np.array([float(header[name]) for name in ("mx", "my", "mz")])
    order = _order(header)
    if sorted(order) != [1, 2, 3]:
        return Geometry()
    along = size[[axis - 1 for axis in order]]
    spacing = tuple(map(float, along[::-1]))[-min(len(shape), 3) :]
    affine = None
    if order == [1, 2, 3] and np.all(size > 0):
        affine = np.diag([*size, 1.0])
        affine[:3, 3] = _origin(header, size)
    return Geometry(spacing, "angstrom", affine)


def _order(header: Any) -> list[int]:
    """Return which of x (1), y and z (3) the columns, the rows and the sections are."""
    return [int(header[name]) for name in ("mapc", "mapr", "maps")]


def _origin(header: Any, size: np.ndarray) -> np.ndarray:
    """Return where the first voxel lies: `origin`, or where that is not used, `nstart`."""
    origin = np.array([float(header.origin[axis]) for axis in "xyz"])
    if origin.any():
        return origin
    return size * [float(header[name]) for name in ("nxstart", "nystart", "nzstart")]


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> Sink:
    """Begin a map; of the attributes it takes its own headers and the spacing.

    Raises InputError for a dtype other than int8, int16, uint16, float16 and float32.
    """
    dtype = np.dtype(dtype)
    if dtype.newbyteorder("=").str[1:] not in _DTYPES:
        raise InputError(
            f"{path}: MRC has no {dtype}, only int8, int16, uint16, float16 and float32: write "
            ".h5 or .npy"
        )
    before = _before(tuple(shape), dtype, attrs or {})

    def begin(file: BinaryIO) -> int:
        return file.write(before)

    return MappedSink(path, shape, dtype, begin, force)


def _before(shape: tuple[int, ...], dtype: np.dtype[Any], attrs: dict[str, Any]) -> bytes:
    """Return header and extended header: as they were where they still say what is true."""
    fresh = _fresh(shape, dtype)
    wanted = geometry_of(attrs, min(len(shape), 3)).within("angstrom")
    kept = _kept(attrs)
    if kept is None or (dtype.itemsize > 1 and kept[0].dtype != fresh.dtype):
        _place(fresh, wanted, shape)
        return bytes(fresh.tobytes())
    header, extended = kept
    same = all(header[name] == fresh[name] for name in ("nx", "ny", "nz", "mode"))
    if not same or wanted.differs(_geometry(header, shape)):
        # the statistics would be those of another volume: fresh ones say that they are not known
        for name in ("nx", "ny", "nz", "mode", "ispg", "dmin", "dmax", "dmean", "rms"):
            header[name] = fresh[name]
        _place(header, wanted, shape)
        if wanted.affine is not None and _order(header) == [1, 2, 3]:
            _move(header, wanted.affine)
    return bytes(header.tobytes()) + extended


def _fresh(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Return a header for voxels of a shape and dtype, of unknown size and statistics."""
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, "one.mrc")
        with mrcfile.new(place, np.zeros((1,) * len(shape), dtype)) as file:
            header = file.header.copy()
    header.nx, header.ny = shape[-1], shape[-2]
    header.nz = int(np.prod(shape[:-2]))
    header.mx, header.my, header.mz = shape[-1], shape[-2], (1, *shape)[-3]
    header.cella = (0, 0, 0)
    header.dmin, header.dmax, header.dmean, header.rms = 0, -1, -2, -1
    header.nlabl, header.label = 0, b""
    return header


def _kept(attrs: dict[str, Any]) -> tuple[Any, bytes] | None:
    """Return the header of the file that was read, and its extended header."""
    try:
        raw = np.asarray(attributes.unpack(attrs.get(HEADER)), np.uint8).tobytes()
        order = mrcfile.utils.byte_order_from_machine_stamp(np.frombuffer(raw[212:216], np.uint8))
        kind = mrcfile.dtypes.HEADER_DTYPE.newbyteorder(order)
        header = np.frombuffer(raw[:_SIZE], kind).reshape(()).copy().view(np.recarray)
    except (FormatError, TypeError, ValueError, OverflowError, IndexError):
        return None
    return (header, raw[_SIZE:]) if int(header.nsymbt) == len(raw) - _SIZE else None


def _place(header: Any, wanted: Geometry, shape: tuple[int, ...]) -> None:
    """Set the grid and the cell along each axis, columns first."""
    spacing = wanted.spacing[::-1]
    extents = (*shape[::-1][:3], 1)
    if sorted(_order(header)) != [1, 2, 3]:
        header.mapc, header.mapr, header.maps = 1, 2, 3
    for at, number in enumerate(_order(header)[: len(spacing) or 3]):
        axis = "xyz"[number - 1]
        header["m" + axis] = extents[at]
        if spacing:
            header.cella[axis] = spacing[at] * extents[at]


def _move(header: Any, affine: np.ndarray) -> None:
    """Say where the first voxel lies, in the way that the header said it before."""
    place, size = affine[:3, 3], np.diag(affine)[:3]
    if not (np.array_equal(affine[:3, :3], np.diag(size)) and np.all(size > 0)):
        return  # turned: of another maker, and nothing that the format has a place for
    start = np.clip(np.rint(place / size), -_FAR, _FAR)
    if header.origin.tolist() != (0.0, 0.0, 0.0) or not np.allclose(start * size, place):
        header.origin = tuple(place)
    else:
        header.nxstart, header.nystart, header.nzstart = map(int, start)
