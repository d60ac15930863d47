"""Pictures of a volume: its mid-slices, its projections, and the map of errors of a copy."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from volcodec.errors import InputError
from volcodec.formats import open_series, open_source
from volcodec.formats.atomic import atomic_output, check_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from volcodec.formats.base import Source

Progress = Callable[[int, int, str], None]

_SLAB_BYTES = 32 << 20
_AXES = ("z", "y", "x")
_DOTS = 150
_PANEL = 3.2  # inches
_LONGEST = 5  # length of a plane over its width


@dataclass
class Survey:
    """What one pass over a volume of shape (Z, Y, X) found.

    Attributes:
        slices: the planes through the middle of z, y and x, float64.
        projections: the largest value along z, y and x; NaN where nothing is finite.
        low, high: the range of the finite voxels (0, 0 where there is none).
    """

    shape: tuple[int, ...]
    slices: list[np.ndarray]
    projections: list[np.ndarray]
    low: float = math.inf
    high: float = -math.inf


@dataclass
class Errors:
    """The differences between a volume and another of the same shape.

    Attributes:
        slices: |difference| of finite voxels on the planes through the middle, float64.
        max_error: the largest of all voxels.
        psnr: in dB, its peak the range of the other volume; infinite without a difference.
        support_iou: agreement of the sets of voxels that are not zero, 0 to 1.
        strays: voxels that are finite or a certain NaN or infinity in one volume only.
    """

    slices: list[np.ndarray]
    max_error: float = 0.0
    psnr: float = math.inf
    support_iou: float = 1.0
    strays: int = 0
    _squares: float = field(default=0.0, repr=False)


def draw(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str] | None = None,
    dataset: str | None = None,
    shape: tuple[int, ...] | None = None,
    dtype: Any = None,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """Draw the volume of `file`, of a series its first frame, to the PNG `out`.

    With `against` a row is added: the error on the mid-slices.
    Raises InputError where `out` exists and `force` is not given, where a file is no volume,
    or where the two differ in shape.
    """
    check_target(out, force)
    with ExitStack() as stack:
        given = (dataset, shape, dtype)
        source = open_volume(stack, file, given, progress)
        other = open_volume(stack, against, given, progress) if against is not None else None
        if other is not None:
            same_shape((file, source), (against, other))
        survey = take_survey(source, progress)
        errors = compare(source, other, progress) if other is not None else None
    title = f"{os.path.basename(file)}: {' x '.join(map(str, survey.shape))}, {source.dtype}"
    figure = _figure(survey, errors, title)
    with atomic_output(out, force) as stream:
        figure.savefig(stream, format="png", dpi=_DOTS)


def open_volume(
    stack: ExitStack,
    file: str | os.PathLike[str],
    given: tuple[str | None, tuple[int, ...] | None, Any],
    progress: Progress | None,
) -> Source:
    """Open a volume, of a series the first frame.

    A .vc file is decoded to a temporary one, for it may exceed memory. `given` is the dataset,
    shape and dtype that `open_series` takes.
    """
    if not is_vc(file):
        return stack.enter_context(open_series(file, *given)[0])
    import volcodec

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="volcodec-"))
    decoded = os.path.join(folder, "volume.npy")
    volcodec.decompress(file, decoded, frame=0, progress=progress)
    return stack.enter_context(open_source(decoded))


def is_vc(file: str | os.PathLike[str]) -> bool:
    """Return whether a file's name says that it is a .vc file."""
    return os.path.splitext(file)[1].lower() == ".vc"


def same_shape(one: tuple[Any, Source], other: tuple[Any, Source]) -> None:
    """Raise InputError, naming both, unless two (file, volume) are of one shape."""
    sizes = [" x ".join(map(str, source.shape)) for _, source in (one, other)]
    if sizes[0] != sizes[1]:
        raise InputError(f"{one[0]} is {sizes[0]} and {other[0]} is {sizes[1]}: shapes differ")


def slabs(
    source: Source, progress: Progress | None, stage: str, step: int = 1
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (z, voxels) of consecutive slabs of (Z, Y, X); a 2-D volume is one slab.

    All slabs but the last are a multiple of `step` thick.
    """
    if len(source.shape) == 2:
        yield 0, source.read((slice(None), slice(None)))[None]
        return
    depth = source.shape[0]
    thick = max(1, _SLAB_BYTES // max(1, 8 * math.prod(source.shape[1:])))
    thick = -(-thick // step) * step
    for z in range(0, depth, thick):
        yield z, source.read((slice(z, z + thick), slice(None), slice(None)))
        if progress is not None:
            progress(min(z + thick, depth), depth, stage)


def take_survey(source: Source, progress: Progress | None = None) -> Survey:
    """Return the mid-slices, projections and range of `source`, read slab by slab."""
    slices = _planes(source)
    survey = Survey(source.shape, slices, [np.full_like(plane, -np.inf) for plane in slices])
    for z, slab in slabs(source, progress, "looking"):
        voxels = slab.astype(np.float64)
        voxels[~np.isfinite(voxels)] = np.nan
        _slice(survey.slices, z, voxels)
        _project(survey.projections, z, voxels)
        survey.low = min(survey.low, float(np.fmin.reduce(voxels, None, initial=np.inf)))
        survey.high = max(survey.high, float(np.fmax.reduce(voxels, None, initial=-np.inf)))
    for plane in survey.projections:
        plane[np.isneginf(plane)] = np.nan
    if survey.low > survey.high:
        survey.low = survey.high = 0.0
    return survey


def _planes(source: Source) -> list[np.ndarray]:
    """Return planes of zeros across z, y and x, float64; a 2-D volume is one slice thick."""
    depth, height, width = (1, *source.shape)[-3:]
    return [np.zeros(plane) for plane in ((height, width), (depth, width), (depth, height))]


def _slice(planes: list[np.ndarray], z: int, voxels: np.ndarray) -> None:
    """Copy to `planes` what a slab that begins at `z` has of the planes through the middle."""
    end = z + len(voxels)
    middle = len(planes[1]) // 2
    if z <= middle < end:
        planes[0][:] = voxels[middle - z]
    planes[1][z:end] = voxels[:, voxels.shape[1] // 2, :]
    planes[2][z:end] = voxels[:, :, voxels.shape[2] // 2]


def _project(planes: list[np.ndarray], z: int, voxels: np.ndarray) -> None:
    """Raise the maxima along z, y and x in `planes` to those of a slab that begins at `z`."""
    end = z + len(voxels)
    np.fmax(planes[0], np.fmax.reduce(voxels, 0), out=planes[0])
    np.fmax(planes[1][z:end], np.fmax.reduce(voxels, 1), out=planes[1][z:end])
    np.fmax(planes[2][z:end], np.fmax.reduce(voxels, 2), out=planes[2][z:end])


def compare(source: Source, other: Source, progress: Progress | None = None) -> Errors:
    """Return how `source` differs from `other`, of the same shape, read slab by slab."""
    errors = Errors(_planes(source))
    low, high, count, common, either = math.inf, -math.inf, 0, 0, 0
    pairs = zip(slabs(source, None, ""), slabs(other, progress, "comparing"), strict=False)
    for (z, ours), (_, theirs) in pairs:
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        finite = np.isfinite(a) & np.isfinite(b)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        errors.strays += int(np.count_nonzero(~finite & ~same))
        common += int(np.count_nonzero((a != 0) & (b != 0)))
        either += int(np.count_nonzero((a != 0) | (b != 0)))
        with np.errstate(all="ignore"):
            gap = np.where(finite, np.abs(a - b), 0.0)
            errors._squares += float(np.sum(np.square(gap)))
        _slice(errors.slices, z, gap)
        errors.max_error = max(errors.max_error, float(gap.max()))
        count += int(np.count_nonzero(finite))
        values = b[np.isfinite(b)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    errors.support_iou = common / either if either else 1.0
    peak = high - low
    if errors._squares > 0 and peak > 0:
        errors.psnr = 20 * math.log10(peak) - 10 * math.log10(errors._squares / count)
    elif errors._squares > 0:
        errors.psnr = -math.inf
    return errors


def _figure(survey: Survey, errors: Errors | None, title: str) -> Figure:
    # the figure's own canvas and not pyplot: no display, no state that outlives the call
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    flat = len(survey.shape) == 2
    columns = 1 if flat else 3
    rows: list[tuple[list[np.ndarray], str, str, float, float]] = []
    middle = [f"{axis} = {n // 2}" for axis, n in zip(_AXES, survey.shape, strict=False)]
    rows.append((survey.slices, "slice", "inferno", survey.low, survey.high))
    if not flat:
        rows.append((survey.projections, "projection", "inferno", survey.low, survey.high))
    if errors is not None:
        rows.append((errors.slices, "error", "viridis", 0.0, errors.max_error))
    figure = Figure((_PANEL * columns + 0.8, _PANEL * len(rows) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_subtitle(title, survey, errors), fontsize=9)
    for row, (planes, kind, colours, low, high) in enumerate(rows):
        for column in range(columns):
            panel = figure.add_subplot(len(rows), columns, row * columns + column + 1)
            if flat:
                name = kind
            elif kind == "projection":
                name = f"largest value along {_AXES[column]}"
            else:
                name = f"{'|error|, ' if kind == 'error' else ''}{middle[column]}"
            _panel(figure, panel, planes[column], column, (low, high), colours, name)
    return figure


def _subtitle(title: str, survey: Survey, errors: Errors | None) -> str:
    text = f"{title}, values {survey.low:.4g} to {survey.high:.4g}"
    if errors is None:
        return text
    decibels = "infinite" if errors.psnr == math.inf else f"{errors.psnr:.2f} dB"
    text += f"\nmax error {errors.max_error:.4g}, PSNR {decibels}"
    text += f", support IoU {errors.support_iou:.6g}"
    if errors.strays:
        text += f", {errors.strays} voxels not finite in one only"
    return text


def _panel(
    figure: Figure,
    panel: Any,
    plane: np.ndarray,
    column: int,
    limits: tuple[float, float],
    colours: str,
    name: str,
) -> None:
    """Draw one plane; its values are brought to 0..1 first, for limits may be 1e308 apart."""
    low, high = limits
    half_range = high / 2 - low / 2
    with np.errstate(all="ignore"):
        shown = (plane / 2 - low / 2) / half_range if half_range > 0 else plane * 0
    # true proportions, but for planes so long that they would be a line
    aspect = "equal" if max(plane.shape) <= _LONGEST * min(plane.shape) else "auto"
    image = panel.imshow(shown, cmap=colours, vmin=0, vmax=1, origin="lower", aspect=aspect)
    across, down = [axis for axis in (2, 1, 0) if axis != column]
    panel.set_xlabel(_AXES[across], fontsize=7)
    panel.set_ylabel(_AXES[down], fontsize=7)
    panel.set_title(name, fontsize=8)
    panel.tick_params(labelsize=6)
    bar = figure.colorbar(image, ax=panel, shrink=0.75, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels([f"{value:.3g}" for value in (low, low + half_range, high)], fontsize=6)
