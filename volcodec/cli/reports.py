"""`info`, `verify`, `models` and `--version`: what files and models say of themselves."""

from __future__ import annotations

from typing import Any

import click

from volcodec.cli.options import dataset_option, layout_options, model_option, vc_file
from volcodec.cli.progress import progress_bar
from volcodec.cli.texts import as_json, as_lines, decibels, number
from volcodec.errors import FormatError

_json_option = click.option("--json", "as_object", is_flag=True, help="Print one JSON object.")


def show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Print the version and end, as the callback of --version."""
    if wanted and not ctx.resilient_parsing:
        import volcodec

        click.echo(f"volcodec {volcodec.__version__}")
        ctx.exit()


@click.command(short_help="Show what a .vc file says of itself.")
@vc_file("FILE.vc")
@_json_option
def info(file: str, as_object: bool) -> None:
    """Show everything that FILE.vc says of itself; nothing is decoded."""
    import volcodec

    found = volcodec.inspect(file)
    click.echo(as_json(found) if as_object else "\n".join(as_lines(found)))


@click.command(short_help="Check a .vc file, and its promise against the original.")
@vc_file("FILE.vc")
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False),
    multiple=True,
    metavar="ORIGINAL",
    help="The volume that was compressed: the promise itself is checked. Once for each frame.",
)
@dataset_option("The dataset of ORIGINAL.  [default: as it was]")
@layout_options
@model_option
@_json_option
def verify(file: str, against: tuple[str, ...], as_object: bool, **given: Any) -> None:
    """Check the checksums and the structure of FILE.vc; with ORIGINAL, its promise.

    The exit status is 0 where all is well and 1 where something is not.
    """
    import volcodec
    from volcodec.kernel import begin

    begin()
    with progress_bar() as progress:
        originals = list(against) or None
        report = volcodec.verify(file, against=originals, progress=progress, **given)
    click.echo(as_json(report) if as_object else "\n".join(_report_lines(file, report)))
    if not report.ok:
        raise FormatError(f"{file}: {'; '.join(report.problems[:3]) or 'its promise is broken'}")


def _report_lines(file: str, report: Any) -> list[str]:
    damaged = report.damaged
    lines = [f"{file}: {'sound' if report.ok else 'NOT SOUND'}, {report.tiles} tiles"]
    if damaged:
        more = ", ..." if len(damaged) > 20 else ""
        lines.append(f"  damaged tiles: {', '.join(map(str, damaged[:20]))}{more}")
    verdict = {None: "", True: ": kept", False: ": BROKEN"}[report.kept]
    lines.append(f"  promise: {report.promise}{verdict}")
    if report.max_error is not None:
        lines.append(f"  max error: {number(report.max_error)}")
    if report.psnr is not None:
        lines.append(f"  PSNR: {decibels(report.psnr)}")
    if report.support_iou is not None:
        lines.append(f"  support IoU: {report.support_iou:.6g}")
    return lines + [f"  problem: {problem}" for problem in report.problems]


@click.command(short_help="List the models at hand.")
def models() -> None:
    """List the models at hand: name, size, what each was trained on, identity."""
    import volcodec

    rows = [("name", "bytes", "identity", "trained on")]
    for model in volcodec.models.available():
        rows.append((model.name, f"{model.bytes:,}", model.identity[:16], model.trained_on))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for name, size, identity, trained_on in rows:
        columns = (name.ljust(widths[0]), size.rjust(widths[1]), identity.ljust(widths[2]))
        click.echo("  ".join((*columns, trained_on)).rstrip())


COMMANDS = (info, verify, models)
