"""TIFF stacks (`.tif`, `.tiff`) by tifffile: one grey image after the other.

Uncompressed stacks are mapped; compressed ones are read to memory whole.
"""

from __future__ import annotations

import logging
import os
from typing import Any, BinaryIO

import numpy as np

from volcodec.errors import FormatError, InputError
from volcodec.formats import Place, attributes, place_name
from volcodec.formats.base import Sink, Source, readable, reason
from volcodec.formats.geometry import Geometry, geometry_of, unit_named
from volcodec.formats.mapped import MappedSink, series_of
from volcodec.formats.overheard import overheard

try:
    import tifffile
except ImportError as missing:
    raise InputError("TIFF files need tifffile: pip install 'volcodec[tiff]'") from missing

# Attributes: OME-XML, ImageJ's lines or plain text; the tags XResolution, YResolution (numerator
# and denominator) and ResolutionUnit; the shape that they speak of.
DESCRIPTION, RESOLUTION, LAYOUT = "tiff_description", "tiff_resolution", "tiff_shape"
_RESOLUTION = {2: "inch", 3: "cm", 4: "mm", 5: "um"}  # values of the tag ResolutionUnit


def open_series(path: Place, dataset: str | None = None) -> list[Source]:
    """Open a stack to read: its images are the first axis; a stack over time is a series.

    Raises InputError for colours, channels and several images of different sizes.
    """
    where = place_name(path)
    name = readable(path)  # type: ignore[arg-type]
    try:
        with overheard("tifffile") as said, tifffile.TiffFile(name) as file:
            series = file.series
            # a chain of images that breaks off would be read as far as it goes
            errors = [record for record in said if record.levelno >= logging.ERROR]
            if errors:
                raise ValueError(errors[0].getMessage())
            if len(series) != 1:
                raise InputError(
                    f"{where} holds {len(series)} images of different kinds: write the one to "
                    "compress to a file of its own"
                )
            _check_grey(where, series[0])
            array = _array(name, file, series[0])
            attrs = _stated(file, min(array.ndim, 3)).attrs()
            attrs |= _own_attributes(file, series[0], array.shape)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of tifffile, of its codecs: all mean that it can't be read
        raise InputError(f"{where} is not a readable TIFF file: {reason(error)}") from error
    return series_of(where, array, dataset, attrs)


def _check_grey(where: str, series: Any) -> None:
    page = series.keyframe
    kind = page.photometric.name
    if page.samplesperpixel > 1 or kind == "PALETTE":
        raise InputError(
            f"{where} holds colours ({kind}): write it in grey, or each channel to a file of its "
            "own"
        )
    for axis, extent in zip(series.axes, series.shape, strict=True):
        if axis in "CS" and extent > 1:
            raise InputError(
                f"{where} holds {extent} channels: write each of them to a file of its own"
            )


def _array(name: str, file: Any, series: Any) -> np.ndarray:
    """Return the voxels in the file's byte order, without axes of one channel or sample."""
    shape = tuple(
        extent for axis, extent in zip(series.axes, series.shape, strict=True) if axis not in "CS"
    )
    dtype = series.dtype.newbyteorder(file.byteorder)
    if series.dataoffset is not None and not series.is_multifile:
        return np.memmap(name, dtype, "r", series.dataoffset, shape)
    return np.asarray(series.asarray(), dtype).reshape(shape)


def _tag(file: Any, name: str) -> Any:
    return file.pages[0].tags.valueof(name)


def _own_attributes(file: Any, series: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what only another TIFF file has a place for."""
    out: dict[str, Any] = {LAYOUT: list(shape)}
    description = file.pages[0].description
    if description and not series.is_multifile:  # else it names the other files
        out[DESCRIPTION] = description
    across, down = _tag(file, "XResolution"), _tag(file, "YResolution")
    if across and down:
        out[RESOLUTION] = [*across, *down, int(_tag(file, "ResolutionUnit") or 1)]
    return out


def _stated(file: Any, dimensions: int) -> Geometry:
    """Return the spacing that a file tells, if it is told as it should be."""
    try:
        return _geometry(file, dimensions)
    except (AttributeError, KeyError, TypeError, ValueError):
        return Geometry()


def _geometry(file: Any, dimensions: int) -> Geometry:
    """Return the spacing that OME-XML tells, or ImageJ and the tags of the first image."""
    if file.is_ome:
        return _ome_geometry(file, dimensions)
    said = file.imagej_metadata or (file.shaped_metadata or [{}])[0]
    unit = unit_named(said.get("unit", ""))
    unit = unit or _RESOLUTION.get(int(_tag(file, "ResolutionUnit") or 1), "")
    tags = [_tag(file, name) for name in ("YResolution", "XResolution")]
    if not all(isinstance(tag, tuple) and all(tag) for tag in tags):
        return Geometry()
    flat = tuple(below / above for above, below in tags)
    if dimensions == 2:
        return Geometry(flat, unit) if unit else Geometry()
    return Geometry((float(said["spacing"]), *flat), unit) if "spacing" in said else Geometry()


def _ome_geometry(file: Any, dimensions: int) -> Geometry:
    """Return the physical size of a voxel, where it has one unit along all axes."""
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]
    axes = "ZYX"[-dimensions:]
    units = {unit_named(pixels.get(f"PhysicalSize{axis}Unit", "um")) for axis in axes}
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in axes]
    if len(units) > 1 or None in sizes:
        return Geometry()
    return Geometry(tuple(map(float, sizes)), units.pop())


def create_sink(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dataset: str | None = None,
    attrs: dict[str, Any] | None = None,
    force: bool = False,
) -> Sink:
    """Begin an uncompressed stack; of the attributes it takes its own tags and the spacing.

    Volumes of other origin get a description that tifffile reads; BigTIFF beyond 4 GB.
    """
    dtype = np.dtype(dtype)
    options = _options(tuple(shape), attrs or {})

    def begin(file: BinaryIO) -> int:
        start, _ = tifffile.imwrite(
            file,
            shape=shape,
            dtype=dtype,
            byteorder=">" if dtype == dtype.newbyteorder(">") and dtype.itemsize > 1 else "<",
            photometric="minisblack",
            software=False,
            returnoffset=True,
            **options,
        )
        return int(start)

    return MappedSink(path, shape, dtype, begin, force)


def _options(shape: tuple[int, ...], attrs: dict[str, Any]) -> dict[str, Any]:
    """Return the description and the resolution as tifffile takes them."""
    own = _numbers(attrs.get(LAYOUT)) == list(shape)
    geometry = geometry_of(attrs, min(len(shape), 3))
    options: dict[str, Any] = {}
    resolution = _numbers(attrs.get(RESOLUTION)) if own else []
    if len(resolution) == 5 and 0 < min(resolution) <= max(resolution) < 1 << 32:
        options["resolution"] = (tuple(resolution[:2]), tuple(resolution[2:4]))
        options["resolutionunit"] = resolution[4] if resolution[4] in _RESOLUTION else 1
    elif geometry.spacing:
        if geometry.unit not in ("", *_RESOLUTION.values()):
            geometry = geometry.within("um")
        codes = {unit: code for code, unit in _RESOLUTION.items()}
        options["resolution"] = tuple(1 / length for length in geometry.spacing[:-3:-1])
        options["resolutionunit"] = codes.get(geometry.unit, 1)
    description = attrs.get(DESCRIPTION)
    if own and isinstance(description, str):
        return options | {"description": description.encode(), "metadata": None}
    metadata: dict[str, Any] = {"axes": "TZYX"[-len(shape) :]}
    if len(geometry.spacing) == 3:
        metadata |= {"spacing": geometry.spacing[0], "unit": geometry.unit}
    return options | {"metadata": metadata}


def _numbers(value: Any) -> list[int]:
    """Return a list of whole numbers, also from the array that another format made of it."""
    try:
        return [int(number) for number in attributes.unpack(value)]
    except (FormatError, TypeError, ValueError):
        return []
