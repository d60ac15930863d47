"""NRRD files (`.nrrd`, `.nhdr`) by pynrrd.

Raw voxels behind the header are mapped; compressed ones, text and those in a file of their own
are read to memory whole.
"""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

import numpy as np

from volcodec.errors import InputError
from volcodec.formats import Place, place_name
from volcodec.formats.base import Sink, Source, readable, reason
from volcodec.formats.geometry import Geometry, geometry_of, unit_named
from volcodec.formats.mapped import MappedSink, series_of

try:
    import nrrd
except ImportError as missing:
    raise InputError("NRRD files need pynrrd: pip install 'volcodec[nrrd]'") from missing

HEADER = "nrrd_header"  # the attribute: the header's lines
_SCATTERED = ("lineskip", "line skip", "byteskip", "byte skip", "datafile", "data file")
_STATED = ("type", "endian", "encoding", "dimension", "sizes", *_SCATTERED)
_PLACES = ("space directions", "space origin", "spacings", "axis mins", "axis maxs")
_AXES = ("kinds", "labels", "units", "thicknesses", "centers", "centerings")
_VALUES = (
    "color",
    "vector",
    "complex",
    "matrix",
    "normal",
    "quaternion",
    "list",
    "gradient",
    "none",
)
# what turns a space's axes into those that run right, front and up
_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip


def open_series(path: Place, dataset: str | None = None) -> list[Source]:
    """Open a NRRD file to read: a volume, or the frames of a 4-D one whose last axis is time.

    Raises InputError where an axis before the last holds the parts of a colour or a vector.
    """
    where = place_name(path)
    name = readable(path)  # type: ignore[arg-type]
    try:
        with open(name, "rb") as file:
            header = nrrd.read_header(file)
            start = file.tell()
            array = _array(name, header, file)
            file.seek(0)
            lines = file.read(start).decode("ascii", "ignore")
        _check_axes(where, header)
        attrs = _geometry(header).attrs()
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of pynrrd, of zlib, of NumPy: all mean that it is damaged
        raise InputError(f"{where} is not a readable NRRD file: {reason(error)}") from error
    attrs[HEADER] = lines
    return series_of(where, array, dataset, attrs)


def _array(name: str, header: dict[str, Any], file: BinaryIO) -> np.ndarray:
    """Return the voxels, slowest axis first."""
    if header["encoding"] != "raw" or any(field in header for field in _SCATTERED):
        return np.asarray(nrrd.read_data(header, file, name, index_order="C"))
    one = {**header, "dimension": 1, "sizes": np.array([1])}
    dtype = nrrd.read_data(one, io.BytesIO(bytes(16))).dtype
    shape = tuple(int(n) for n in header["sizes"][::-1])
    if len(shape) != header["dimension"]:
        raise ValueError("its sizes are not as many as its dimensions")
    return np.memmap(name, dtype, "r", file.tell(), shape)


def _check_axes(where: str, header: dict[str, Any]) -> None:
    kinds = [str(kind).lower() for kind in header.get("kinds", [])]
    directions = np.asarray(header.get("space directions", ()), np.float64)
    for axis in range(int(header["dimension"]) - 1):
        kind = kinds[axis] if axis < len(kinds) else ""
        if axis < len(directions) and np.isnan(directions[axis]).any():
            kind = kind or "none"  # it has no direction in space
        if any(word in kind for word in _VALUES):
            raise InputError(
                f"{where} has an axis of kind {kind} before its last: write each of its parts to "
                "a file of its own"
            )


def _geometry(header: dict[str, Any]) -> Geometry:
    """Return spacing and affine; one where the axes of the space are known runs to RAS+."""
    dimensions = min(int(header["dimension"]), 3)
    directions = np.asarray(header.get("space directions", ()), np.float64)
    stated = header.get("space units", header.get("units", ()))[:dimensions]
    units = {unit_named(unit) for unit in stated}
    unit = units.pop() if len(units) == 1 else ""
    if directions.ndim != 2 or len(directions) < dimensions:
        spacings = np.asarray(header.get("spacings", ()), np.float64)[:dimensions]
        return Geometry(tuple(map(float, spacings[::-1])), unit)
    directions = directions[:dimensions]
    spacing = tuple(map(float, np.linalg.norm(directions, axis=1)[::-1]))
    signs = _SPACES.get(str(header.get("space", "")).lower(), (1, 1, 1))
    origin = header.get("space origin")
    if origin is None or directions.shape != (3, 3):
        return Geometry(spacing, unit)
    affine = np.eye(4)
    affine[:3, :3] = directions.T
    affine[:3, 3] = origin
    return Geometry(spacing, unit, np.diag([*signs, 1.0]) @ affine)


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> Sink:
    """Begin a NRRD file of raw voxels; it takes its own header's fields, spacing and affine.

    Raises InputError for float16, and for a `.nhdr`, whose voxels would be in another file.
    """
    if os.fsdecode(path).lower().endswith(".nhdr"):
        raise InputError(f"{path}: a NRRD file is written as one: name it .nrrd")
    dtype = np.dtype(dtype)
    if dtype.kind == "f" and dtype.itemsize == 2:
        raise InputError(f"{path}: NRRD has no {dtype}: write .h5 or .npy")
    before = _before(tuple(shape), dtype, attrs or {})

    def begin(file: BinaryIO) -> int:
        return file.write(before)

    return MappedSink(path, shape, dtype, begin, force)


def _before(shape: tuple[int, ...], dtype: np.dtype[Any], attrs: dict[str, Any]) -> bytes:
    """Return the header."""
    wanted = geometry_of(attrs, min(len(shape), 3))
    lines = attrs.get(HEADER)
    if isinstance(lines, str):
        try:
            return _lines(_kept(lines, wanted, shape), shape, dtype)
        except Exception:  # pynrrd raises many kinds for what is no header, whoever called it so
            pass
    return _lines(_placed(wanted, {}, len(shape)), shape, dtype)


def _kept(lines: str, wanted: Geometry, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the fields of the file that was read, made true of where the voxels lie now."""
    fields = dict(nrrd.read_header(lines.splitlines()))
    stale: tuple[str, ...] = ()
    if fields["dimension"] != len(shape):  # one frame of a series
        stale = (*_PLACES, *_AXES)
    elif tuple(fields["sizes"][::-1]) != shape or wanted.differs(_geometry(fields)):
        stale = _PLACES
    for name in stale:
        fields.pop(name, None)
    return fields | (_placed(wanted, fields, len(shape)) if stale else {})


def _lines(fields: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """Return a header with these fields and what shape and dtype make of the others."""
    for name in _STATED:
        fields.pop(name, None)
    out = io.BytesIO()
    # of one voxel, so that pynrrd need not be given a volume that may exceed memory
    single = np.zeros((1,) * len(shape), dtype)
    nrrd.write(out, single, {**fields, "encoding": "raw"}, index_order="C")
    header, _, _ = out.getvalue().partition(b"\n\n")
    lines = [line for line in header.split(b"\n") if not line.startswith(b"#")]  # the time
    ones, sizes = (" ".join(map(str, n)).encode() for n in ((1,) * len(shape), shape[::-1]))
    lines[lines.index(b"sizes: " + ones)] = b"sizes: " + sizes
    return b"\n".join(lines) + b"\n\n"


def _placed(wanted: Geometry, fields: dict[str, Any], dimensions: int) -> dict[str, Any]:
    """Return the fields that say where the voxels lie."""
    more = dimensions - min(dimensions, 3)  # an axis of frames, which has no place in space
    if wanted.affine is not None:
        space = str(fields.get("space", "" if fields else "right-anterior-superior"))
        signs = _SPACES.get(space.lower(), (1, 1, 1))
        affine = np.diag([*signs, 1.0]) @ wanted.affine
        directions = np.full((dimensions, 3), np.nan)
        directions[:3] = affine[:3, :3].T
        out = {"space directions": directions, "space origin": affine[:3, 3]}
        out |= {"space": space} if space else {}
        return out | ({"space units": [wanted.unit] * 3} if wanted.unit else {})
    if not wanted.spacing:
        return {}
    out = {"spacings": np.array([*wanted.spacing[::-1], *[np.nan] * more])}
    return out | (
        {"units": [wanted.unit] * (dimensions - more) + [""] * more} if wanted.unit else {}
    )
