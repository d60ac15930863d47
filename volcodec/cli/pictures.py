"""`view` and `demo`: what a person looks at."""

from __future__ import annotations

import os
from typing import Any

import click

from volcodec.cli.options import dataset_option, force_option, layout_options, vc_file
from volcodec.cli.progress import progress_bar

_DEMO_PICTURE = "volcodec-demo.png"


def _picture(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _ends(value, ".png"):
        raise click.BadParameter(f"{value}: a picture is a .png file.", ctx, option)
    return value


def _picture_or_page(ctx: click.Context, option: click.Parameter, value: str) -> str:
    if not _ends(value, ".png", ".html", ".htm"):
        raise click.BadParameter(
            f"{value}: a picture is a .png file, a page is a .html file.", ctx, option
        )
    return value


def _ends(name: str, *suffixes: str) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes


def _quiet_matplotlib() -> None:
    """Keep its news of building a font cache from standard error."""
    import logging

    logging.getLogger("matplotlib").setLevel(logging.ERROR)


@click.command(short_help="Draw a volume, or the error of a copy, as a picture or in 3-D.")
@vc_file("FILE")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(),
    required=True,
    callback=_picture_or_page,
    metavar="PICTURE.png|PAGE.html",
    help="What to write.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False),
    metavar="OTHER",
    help="The original, or another copy: adds the map of the errors.",
)
@dataset_option("The dataset to show.")
@layout_options
@force_option
def view(file: str, out: str, **given: Any) -> None:
    """Draw FILE, a .vc or a volume.

    A picture shows its three mid-slices and its projections. On a page it is turned in 3-D and
    leafed through, in any browser and without a network.
    """
    with progress_bar() as progress:
        if _ends(out, ".png"):
            from volcodec.view import draw

            _quiet_matplotlib()
            draw(file, out, progress=progress, **given)
        else:
            from volcodec import page

            page.write(file, out, progress=progress, **given)
    click.echo(out)


@click.command(short_help="Show the main job on a small volume made on the spot.")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(),
    callback=_picture,
    metavar="PICTURE.png",
    help=f"The picture; OUT.vc is written beside it.  [default: {_DEMO_PICTURE}]",
)
@force_option
def demo(out: str | None, force: bool) -> None:
    """Make a smoke volume, compress, decompress and verify it; end in figures and a picture."""
    from volcodec.demo import run, show
    from volcodec.kernel import begin

    begin()
    _quiet_matplotlib()
    # its own files of an earlier run may be replaced without being asked
    with progress_bar() as progress:
        outcome = run(out or _DEMO_PICTURE, force=force or out is None, progress=progress)
    show(outcome)


COMMANDS = (view, demo)
