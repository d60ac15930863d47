"""`train`: a model of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from volcodec.cli.options import device_option, force_option
from volcodec.cli.progress import progress_bar

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(ctx: click.Context, option: click.Parameter, text: str) -> float:
    """Return a duration as seconds: 90, 90s, 30m, 1.5h, 2d."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if not found or float(found[1]) == 0:
        raise click.BadParameter(f"{text!r} is no duration: write 30m, 90s or 2h.", ctx, option)
    return float(found[1]) * _UNITS[found[2]]


def _numbers(count: int, kind: type = float) -> Callable[..., Any]:
    """Return a callback that understands so many numbers with commas between them."""

    def understand(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
        if text is None:
            return None
        try:
            found = tuple(kind(part) for part in text.split(","))
        except ValueError:
            found = ()
        if len(found) != count:
            raise click.BadParameter(f"{text!r}: write {count} numbers, A,B...", ctx, option)
        return found

    return understand


def _names(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    """Return `a,b` as names."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


@click.command(short_help="Train a model on your own volumes.")
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True), metavar="DATA...")
@click.option("-o", "--output", required=True, metavar="MODEL", help="The model file to write.")
@click.option(
    "--arch",
    type=click.Choice(["pyramid", "unet"]),
    default="pyramid",
    show_default=True,
    help="What to train.",
)
@click.option("--dims", type=click.IntRange(2, 3), help="unet: 2 for slices, 3 for volumes.")
@click.option(
    "--first-2d",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="unet: share of the budget spent on slices first.",
)
@click.option("--from", "start", metavar="MODEL", help="Go on from a model: fine-tune it.")
@click.option(
    "--budget",
    default="30m",
    show_default=True,
    callback=_seconds,
    metavar="TIME",
    help="Time for everything: 90s, 30m, 2h.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Steps of each stage, instead of what the budget holds.",
)
@click.option(
    "--validation",
    default="0.1",
    show_default=True,
    metavar="SHARE|PATH",
    help="Share of the volumes to validate on, or a file or folder of others.",
)
@device_option
@click.option(
    "--precision",
    type=click.Choice(["32", "bf16", "16", "64"]),
    default="32",
    show_default=True,
    help="bf16 and 16: mixed with 32 bits.",
)
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Devices of each machine.",
)
@click.option(
    "--nodes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Machines; start the same command on each.",
)
@click.option(
    "--optimiser",
    type=click.Choice(["adamw", "sgd", "rmsprop", "velo"]),
    help="[default: adamw]",
)
@click.option("--velo", metavar="FOLDER", help="Weights of the learned optimiser.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate.")
@click.option(
    "--betas", callback=_numbers(2), metavar="B1,B2", help="Of AdamW; B2 of RMSprop, too."
)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "plateau", "constant"]),
    help="Of the learning rate.  [default: cosine]",
)
@click.option("--warmup", type=click.IntRange(min=0), metavar="N", help="Steps of warm-up.")
@click.option("--weight-decay", type=click.FloatRange(0), help="Or L2: of the kernels.")
@click.option("--clip", type=click.FloatRange(0), help="Largest norm of the gradient; 0: any.")
@click.option(
    "--ema",
    type=click.FloatRange(0, 1, max_open=True),
    help="Decay of the averaged weights; 0: none.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    metavar="N",
    help="Stop after N validations without a better one; 0: never.",
)
@click.option("--validations", type=click.IntRange(min=1), metavar="N", help="Of each stage.")
@click.option("--batch", type=click.IntRange(min=1), metavar="N", help="Items a step.")
@click.option("--patch", type=click.IntRange(min=16), metavar="N", help="unet: edge in voxels.")
@click.option(
    "--hidden",
    callback=_numbers(2, int),
    metavar="H1,H2",
    help="pyramid: hidden units; more are smaller files and slower coding.  [default: 32,16]",
)
@click.option(
    "--predictor/--no-predictor",
    default=None,
    help="pyramid: a network that predicts voxels: smaller files, slower.  [default: yes]",
)
@click.option(
    "--synthetic",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="pyramid: share of crops that are random fields.  [default: 0.15, with --from 0]",
)
@click.option(
    "--terms",
    callback=_names,
    metavar="NAMES",
    help="unet: of the loss: mse,frobenius,segmentation or fewer.",
)
@click.option("--weights", callback=_numbers(3), metavar="W,W,W", help="unet: of the three terms.")
@click.option("--balance/--no-balance", default=None, help="unet: balance terms by gradient.")
@click.option(
    "--frobenius",
    type=click.Choice(["norm", "smooth", "squared"]),
    help="unet: form of the Frobenius term.  [default: squared]",
)
@click.option(
    "--frobenius-of",
    type=click.Choice(["error", "density"]),
    help="unet: what it is the norm of.  [default: error]",
)
@click.option(
    "--segmentation",
    type=click.Choice(["dice", "bce"]),
    help="unet: form of the segmentation term.  [default: dice]",
)
@click.option("--lambdas", callback=_numbers(2), metavar="LOW,HIGH", help="unet: range of rates.")
@click.option("--guard/--no-guard", default=None, help="Catch divergence.  [default: yes]")
@click.option(
    "--classical/--random",
    default=None,
    help="unet: start as a block transform, or from random weights.  [default: classical]",
)
@click.option(
    "--curvature",
    is_flag=True,
    help="Measure how near AdamW is to instability; slow.",
)
@click.option(
    "--original",
    is_flag=True,
    help="unet: the recipe that diverged: lr 2e-4, beta1 "
    "0.5, no clipping, unsquared Frobenius norm, constant rate, random start.",
)
@click.option("--seed", type=click.INT, default=1, show_default=True)
@click.option(
    "--resume/--fresh",
    default=True,
    help="Go on where MODEL.train holds a checkpoint, or start anew.",
)
@force_option
def train(data: tuple[str, ...], output: str, **given: Any) -> None:
    """Train a model on DATA: HDF5 and .npy files, or folders of them.

    Whole volumes are held out for validation; the model written is always the one that was best
    on them. MODEL.train holds the log, checkpoints and report.html; a run that was cut off goes on
    when the same command is given again.
    """
    from volcodec.training.recipe import recipe_for
    from volcodec.training.run import train as run

    switches = {name: given.pop(name) for name in ("validation", "resume", "force", "original")}
    recipe = recipe_for(given.pop("arch"), switches["original"], **given)
    with progress_bar() as progress:
        outcome = run(
            data, output, recipe,
            validation=switches["validation"], fresh=not switches["resume"],
            force=switches["force"], progress=progress,
        )  # fmt: skip
    for line in outcome.lines():
        click.echo(line)


COMMANDS = (train,)
