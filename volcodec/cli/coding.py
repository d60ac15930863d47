"""`compress` and `decompress`: between files of volumes and `.vc` files."""

from __future__ import annotations

from typing import Any

import click

from volcodec.cli.options import (
    dataset_option,
    force_option,
    input_file,
    layout_options,
    machine_options,
    model_option,
    parse_region,
    take_target,
    target_options,
    vc_file,
)
from volcodec.cli.progress import progress_bar
from volcodec.cli.texts import decibels, number


@click.command(short_help="Compress volumes into a .vc file.")
@input_file("inputs", nargs=-1, required=True, metavar="IN...")
@click.argument("out", type=click.Path(), metavar="OUT.vc")
@dataset_option("The dataset of IN to read, and what the volume is called.")
@layout_options
@click.option(
    "--model", default="density", show_default=True, metavar="NAME|PATH", help="The model."
)
@target_options
@click.option(
    "--support",
    type=click.Choice(["auto", "exact", "off"]),
    default="auto",
    show_default=True,
    help="Keep exact zeros exact; auto: where that costs at most 5 % of the file.",
)
@click.option(
    "--background",
    type=click.FLOAT,
    default=0.0,
    metavar="V",
    help="The value that --support keeps.  [default: 0]",
)
@click.option(
    "--effort",
    type=click.IntRange(1, 9),
    metavar="1..9",
    help="1 fastest to 9 smallest.  [default: 5]",
)
@click.option("--fast", is_flag=True, help="The quickest coding there is.")
@click.option("--tile", type=click.IntRange(min=1), metavar="N", help="Edge of a tile in voxels.")
@machine_options
@click.option("--embed-model", is_flag=True, help="Store the model in the file.")
@force_option
def compress(inputs: tuple[str, ...], out: str, effort: int | None, **given: Any) -> None:
    """Compress IN to OUT.vc; several IN are the frames of one series.

    IN is .h5, .hdf5 or .npy; with their libraries also .nii, .nii.gz, .nrrd, .mrc, .ccp4, .map and
    .tif; with --shape and --dtype .raw and .bin.

    One of --max-error, --rel-error, --psnr, --ratio, --bits and --lossless is the target,
    which is checked on what was written before the command ends.
    """
    target = take_target(given)
    if given["fast"] and effort is not None:
        raise click.UsageError("--fast and --effort exclude each other.")
    from volcodec.formats import format_of

    if format_of(out) is not None:
        raise click.UsageError(f"OUT comes last and is a .vc file; {out} is that of a volume.")
    import volcodec
    from volcodec.kernel import begin

    begin()
    with progress_bar() as progress:
        summary = volcodec.compress(
            list(inputs) if len(inputs) > 1 else inputs[0],
            out,
            effort=5 if effort is None else effort,
            progress=progress,
            **target,
            **given,
        )
    click.echo(summary_line(out, summary))


def summary_line(out: str, summary: Any) -> str:
    """Return what `volcodec.compress` did, in one line."""
    parts = [
        f"{summary.raw_bytes:,} -> {summary.file_bytes:,} bytes",
        f"ratio {number(summary.raw_bytes / summary.file_bytes)}",
        f"{number(8 * summary.file_bytes / summary.voxels)} bpv",
    ]
    if summary.max_error is not None:
        parts.append(f"max error {number(summary.max_error)}")
    if summary.psnr is not None:
        parts.append(f"PSNR {decibels(summary.psnr)}")
    tiles = " + ".join(f"{count} {coding}" for coding, count in summary.codings.items() if count)
    parts += [f"support {summary.support}", f"tiles {tiles}", f"{summary.seconds:.1f} s"]
    return f"{out}: " + ", ".join(parts)


@click.command(short_help="Write the volume of a .vc file, or a part of it.")
@vc_file("IN.vc")
@click.argument("out", type=click.Path(), metavar="OUT")
@dataset_option("What the dataset of OUT is called.  [default: as it was]")
@model_option
@click.option(
    "--region",
    callback=parse_region,
    metavar="Z0:Z1,Y0:Y1,X0:X1",
    help="Only this part, as Python's slices, in voxels of the level.",
)
@click.option(
    "--level",
    type=click.IntRange(min=0),
    default=0,
    metavar="K",
    help="A preview at 1/2^K of the resolution.",
)
@click.option("--frame", type=click.INT, metavar="I", help="Only this frame of a series.")
@machine_options
@force_option
def decompress(file: str, out: str, **given: Any) -> None:
    """Decompress IN.vc, a path or a URL, to OUT: .h5, .npy, .nii, .mrc, .raw, ... by its name."""
    import volcodec
    from volcodec.kernel import begin

    begin()
    with progress_bar() as progress:
        volcodec.decompress(file, out, progress=progress, **given)


COMMANDS = (compress, decompress)
