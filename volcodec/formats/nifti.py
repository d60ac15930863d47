"""NIfTI files (`.nii`, `.nii.gz`) by nibabel; stored values, not those that the header scales.

A `.nii` is mapped; a `.nii.gz` can't be entered in its middle and is read to memory whole.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import numpy as np

from volcodec.errors import InputError
from volcodec.formats import Place, attributes, place_name
from volcodec.formats.base import Sink, Source, readable, reason
from volcodec.formats.geometry import Geometry, geometry_of
from volcodec.formats.mapped import GzippedSink, MappedSink, series_of
from volcodec.formats.overheard import overheard

try:
    import nibabel as nib
    from nibabel.openers import ImageOpener
    from nibabel.spatialimages import HeaderDataError
except ImportError as missing:
    raise InputError("NIfTI files need nibabel: pip install 'volcodec[nifti]'") from missing

HEADER = "nifti_header"  # the attribute: all bytes of the file that stand before its voxels
_UNITS = {"meter": "m", "mm": "mm", "micron": "um"}
_LOG = "nibabel.global"
_LARGEST = 32767  # extent of an axis in NIfTI-1


def open_series(path: Place, dataset: str | None = None) -> list[Source]:
    """Open a NIfTI file to read: a volume, or the frames of a 4-D one.

    What is scaled by the header (scl_slope, scl_inter) is read as stored; the attributes keep
    the header and its extensions. Raises InputError for colours and for more dimensions.
    """
    where = place_name(path)
    name = readable(path)  # type: ignore[arg-type]
    try:
        with overheard(_LOG):
            image = nib.load(name, mmap="r")
            if not isinstance(image, nib.Nifti1Image):
                raise ValueError(f"it is {type(image).__name__}")
            with ImageOpener(name) as file:
                header = type(image.header).from_fileobj(file, check=False)  # slope and all
                file.seek(0)
                raw = file.read(int(image.dataobj.offset))
            array = np.asanyarray(image.dataobj.get_unscaled())
    except MemoryError:
        raise
    except Exception as error:  # of nibabel, of gzip, of NumPy: all mean that it is damaged
        raise InputError(f"{where} is not a readable NIfTI file: {reason(error)}") from error
    if array.dtype.names:
        raise InputError(f"{where} holds colours (RGB): write each channel to a file of its own")
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 4:
        size = " x ".join(map(str, array.shape))
        raise InputError(f"{where} has {array.ndim} dimensions ({size}), a series of volumes 4")
    attrs = _geometry(header).attrs()
    attrs[HEADER] = attributes.pack(np.frombuffer(raw, np.uint8))
    return series_of(where, array.T, dataset, attrs)


def _geometry(header: Any) -> Geometry:
    dimensions = min(len(header.get_data_shape()), 3)
    spacing = tuple(float(zoom) for zoom in header.get_zooms()[:dimensions])
    unit = _UNITS.get(_units(header)[0], "")
    # without a code nibabel makes an affine up, which places the volume nowhere
    coded = int(header["sform_code"]) or int(header["qform_code"])
    affine = np.asarray(header.get_best_affine(), np.float64) if coded else None
    return Geometry(spacing[::-1], unit, affine)


def _units(header: Any) -> tuple[str, str]:
    """Return nibabel's names for the units of space and time, also where there is no such one."""
    try:
        space, time = header.get_xyzt_units()
    except KeyError:
        return "unknown", "unknown"
    return space, time


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> Sink:
    """Begin a NIfTI file; of the attributes it takes its own header, the spacing, the affine.

    A series of `shape` (T, Z, Y, X) becomes a 4-D image. Raises InputError for float16.
    """
    dtype = np.dtype(dtype)
    before = _before(path, tuple(shape), dtype, attrs or {})

    def begin(file: BinaryIO) -> int:
        return file.write(before)

    kind = GzippedSink if os.fsdecode(path).lower().endswith(".gz") else MappedSink
    return kind(path, shape, dtype, begin, force)


def _before(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    attrs: dict[str, Any],
) -> bytes:
    """Return what stands before the voxels: as it was where that still says what is true."""
    wanted = geometry_of(attrs, min(len(shape), 3))
    kept = _kept(attrs)
    if kept is not None:
        header, raw, found = kept
        same_shape = _plain(header.get_data_shape()[::-1]) == _plain(shape)
        same_dtype = header.get_data_dtype() == dtype
        if same_shape and same_dtype and not wanted.differs(found):
            return raw
        extensions = raw[header.sizeof_hdr :]
    else:
        kind = nib.Nifti2Header if max(shape) > _LARGEST else nib.Nifti1Header
        header = kind()
        header.set_slope_inter(1, 0)
        header["vox_offset"] = header.single_vox_offset
        extensions = bytes(int(header["vox_offset"]) - header.sizeof_hdr)
    if dtype.itemsize > 1:
        header = header.as_byteswapped("<" if dtype == dtype.newbyteorder("<") else ">")
    try:
        header.set_data_shape(shape[::-1])
        header.set_data_dtype(dtype)
    except HeaderDataError as error:
        raise InputError(
            f"{path}: NIfTI has no {dtype} of shape {shape}: write .h5 or .npy ({reason(error)})"
        ) from error
    _place(header, wanted)
    return bytes(header.binaryblock) + extensions


def _kept(attrs: dict[str, Any]) -> tuple[Any, bytes, Geometry] | None:
    """Return the header of the file that was read, all bytes before its voxels, and where."""
    try:
        raw = np.asarray(attributes.unpack(attrs[HEADER]), np.uint8).tobytes()
        large = raw[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")
        kind = nib.Nifti2Header if large else nib.Nifti1Header
        with overheard(_LOG):
            header = kind(raw[: kind.sizeof_hdr])
        found = _geometry(header)
        _forms(header)  # raises where the quaternion is none
    except Exception:  # nibabel raises many kinds for what is no header, whoever called it so
        return None
    return (header, raw, found) if int(header["vox_offset"]) == len(raw) else None


def _place(header: Any, wanted: Geometry) -> None:
    """Set zooms, unit and affine where the header's differ."""
    had = geometry_of(_geometry(header).attrs(), 3).affine  # None too where it is singular
    sform, qform = _forms(header)  # of before the zooms change
    if wanted.unit not in ("", *_UNITS.values()):
        wanted = wanted.within("mm")
    if wanted.spacing:
        rest = header.get_zooms()[len(wanted.spacing) :]
        header.set_zooms((*wanted.spacing[::-1], *rest))
    if wanted.unit:
        names = {short: name for name, short in _UNITS.items()}
        header.set_xyzt_units(names[wanted.unit], _units(header)[1])
    if wanted.affine is None:
        return
    if had is None:
        header.set_sform(wanted.affine, "aligned")
        return
    if np.array_equal(had, wanted.affine):
        return
    # a part lies in the spaces of the whole, which the two forms may name differently
    moved = np.linalg.solve(had, wanted.affine)
    if sform is not None:
        header.set_sform(sform @ moved, int(header["sform_code"]))
    if qform is not None:
        header.set_qform(qform @ moved, int(header["qform_code"]))


def _forms(header: Any) -> tuple[Any, Any]:
    """Return the sform and the qform, None where the header has no code for it."""
    return header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without the axes of one voxel."""
    return tuple(int(n) for n in shape if n != 1)
