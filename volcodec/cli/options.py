"""Options and arguments that several commands share, and how their text is understood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from volcodec.remote import is_url

Command = TypeVar("Command", bound=Callable[..., Any])

# (parameter, option, type, help); each is a target of the encoder, of which one is given
_TARGETS: tuple[tuple[str, str, Any, str], ...] = (
    ("max_error", "E", click.FloatRange(min=0), "Largest error of any voxel, in the data's units."),
    (
        "rel_error",
        "R",
        click.FloatRange(min=0),
        "The same, as a share of max - min.  [default: 1e-3]",
    ),
    (
        "psnr",
        "DB",
        click.FLOAT,
        "PSNR in dB, kept and exceeded by at most 0.3 unless losing nothing is as small.",
    ),
    ("ratio", "N", click.FloatRange(min=0, min_open=True), "Raw bytes / file bytes, at least."),
    ("bits", "B", click.FloatRange(min=0, min_open=True), "Bits per voxel, at most."),
)
DEFAULT_TARGET = {"rel_error": 1e-3}


def target_options(command: Command) -> Command:
    """Add --max-error, --rel-error, --psnr, --ratio, --bits and --lossless."""
    lossless = click.option("--lossless", is_flag=True, help="Bit for bit.")
    command = lossless(command)
    for name, metavar, kind, text in reversed(_TARGETS):
        option = "--" + name.replace("_", "-")
        command = click.option(option, name, type=kind, metavar=metavar, help=text)(command)
    return command


def take_target(given: dict[str, Any]) -> dict[str, Any]:
    """Remove the target's options from `given` and return the one that was used.

    Raises click.UsageError where there are several.
    """
    names = [name for name, *_ in _TARGETS]
    values = {name: given.pop(name) for name in names}
    target = {name: value for name, value in values.items() if value is not None}
    if given.pop("lossless"):
        target["lossless"] = True
    if len(target) > 1:
        used = " and ".join("--" + name.replace("_", "-") for name in target)
        raise click.UsageError(f"{used} exclude each other: give one target.")
    return target or dict(DEFAULT_TARGET)


def parse_region(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> tuple[slice, ...] | None:
    """Return `Z0:Z1,Y0:Y1,X0:X1` as slices, as the callback of an option.

    As in Python, bounds may be left out or negative; raises click.BadParameter for steps.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 3:
        raise click.BadParameter(f"{text!r} has {len(parts)} parts, a volume 3 axes.", ctx, option)
    region = []
    for part in parts:
        bounds = part.split(":") if part else ["", ""]
        if len(bounds) != 2:
            what = "has a step" if len(bounds) > 2 else "is no range: write it as START:STOP"
            raise click.BadParameter(f"{part!r} {what}.", ctx, option)
        try:
            low, high = (int(bound) if bound.strip() else None for bound in bounds)
        except ValueError:
            raise click.BadParameter(
                f"{part!r}: the bounds are whole numbers.", ctx, option
            ) from None
        region.append(slice(low, high))
    return tuple(region)


def parse_shape(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    """Return `Z,Y,X` as numbers, as the callback of an option."""
    if text is None:
        return None
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise click.BadParameter(f"{text!r} is not two to four extents, as Z,Y,X.", ctx, option)
    return shape


def layout_options(command: Command) -> Command:
    """Add --shape and --dtype, for files that do not say what they hold."""
    dtype = click.option(
        "--dtype",
        metavar="NAME",
        help="What they are: uint8, >i2, float32, ...",
    )
    return click.option(
        "--shape",
        callback=parse_shape,
        metavar="Z,Y,X",
        help="How many voxels a .raw or .bin file has along each axis.",
    )(dtype(command))


def input_file(name: str, **settings: Any) -> Callable[[Command], Command]:
    """Add an argument for a file that must exist (else status 2)."""
    return click.argument(name, type=click.Path(exists=True, dir_okay=False), **settings)


class VcFile(click.Path):
    """The type of a .vc file that must exist, or of a URL, which is not looked for beforehand."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_url(value) else super().convert(value, param, ctx)


def vc_file(metavar: str) -> Callable[[Command], Command]:
    """Add the argument FILE, a .vc file by its path or URL."""
    return click.argument("file", type=VcFile(), metavar=metavar)


def dataset_option(text: str) -> Callable[[Command], Command]:
    """Add --dataset NAME."""
    return click.option("--dataset", metavar="NAME", help=text)


def force_option(command: Command) -> Command:
    """Add --force."""
    return click.option("--force", is_flag=True, help="Replace OUT if it exists.")(command)


def model_option(command: Command) -> Command:
    """Add --model PATH, for a file whose model is not at hand."""
    return click.option(
        "--model", metavar="PATH", help="The model that wrote the file, if it is not a shipped one."
    )(command)


def device_option(command: Command) -> Command:
    """Add --device."""
    return click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to compute.",
    )(command)


def machine_options(command: Command) -> Command:
    """Add --threads and --device."""
    command = device_option(command)
    return click.option(
        "--threads", type=click.IntRange(min=1), metavar="N", help="Threads.  [default: all cores]"
    )(command)
