"""`bench`: volcodec beside its peers on one's own volumes."""

from __future__ import annotations

import sys
from typing import Any

import click

from volcodec.cli.options import dataset_option
from volcodec.cli.progress import progress_bar


@click.command(short_help="Measure volcodec beside its peers on your volumes.")
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True), metavar="DATA...")
@click.option(
    "-o", "--output", "report", required=True, metavar="REPORT", help="A folder for the report."
)
@click.option("--model", "models", multiple=True, metavar="MODEL", help="A model; may be repeated.")
@click.option("--quick", is_flag=True, help="A few volumes, a few points: about three minutes.")
@click.option("--peers", metavar="NAMES", help="Only these peers, separated by commas.")
@click.option(
    "--support",
    type=click.Choice(["auto", "exact", "off"]),
    default="off",
    show_default=True,
    help="What volcodec keeps of the background (peers keep none).",
)
@click.option(
    "--effort",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="Of volcodec where rate and distortion are measured.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where volcodec computes.",
)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Volumes at a time.")
@click.option(
    "--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Of each timing."
)
@click.option("--no-speed", is_flag=True, help="Leave the throughput out.")
@dataset_option("The dataset of files that hold several.")
def bench(data: tuple[str, ...], report: str, **given: Any) -> None:
    """Measure rate, distortion and speed of volcodec and its peers on DATA (files or folders).

    Writes REPORT/report.html, results.json and results.csv. What was measured stays in
    REPORT/cache: a study that was cut off goes on, and after a change of volcodec only volcodec is
    measured again.
    """
    import shlex

    from volcodec.bench import bench
    from volcodec.parallel import thread_count

    options = {
        "models": given["models"] or ("density",),
        "device": given["device"],
        "support": given["support"],
        "effort": given["effort"],
        "quick": given["quick"],
        "jobs": given["jobs"] or thread_count(None),
        "repeats": given["repeats"],
        "dataset": given["dataset"],
        "speed": not given["no_speed"],
    }
    if given["peers"] is not None:
        options["only_peers"] = tuple(n.strip() for n in given["peers"].split(",") if n.strip())
    with progress_bar() as progress:
        command = " ".join(map(shlex.quote, ["volcodec", *sys.argv[1:]]))
        results = bench(data, report, command=command, progress=progress, **options)
    click.echo("\n".join(_lines(results)))
    click.echo(f"{report}/report.html")


def _lines(results: dict[str, Any]) -> list[str]:
    """The finding in a few lines: each game against each peer."""
    names = {
        "psnr": "equal PSNR",
        "error": "equal maximum error",
    }
    lines = []
    for game, title in names.items():
        for codec, against in results["summary"][game].items():
            for peer, total in against.items():
                who = "the best of them" if peer == "best" else peer
                lines.append(
                    f"{codec}, {title}, against {who}: {total['mean']:+.1f} % on the mean of "
                    f"{total['volumes']} volumes, worst {total['worst']:+.1f} % "
                    f"({total['worst_volume']})"
                )
    for name, codec in results["codecs"].items():
        if codec["missing"]:
            lines.append(f"not measured: {name} ({codec['missing']})")
    return lines


COMMANDS = (bench,)
