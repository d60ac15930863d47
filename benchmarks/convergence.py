"""Why the autoencoder diverged, and what helps: the original recipe, each remedy alone, together.

    python -m benchmarks.convergence DATA -o benchmarks/results/convergence.json --minutes 6
    python -m benchmarks.convergence --table benchmarks/results/convergence.json

Every recipe is the original one with one change, run with each seed for as long, one at a time; a
study that was cut off goes on where it was. Nothing is caught (no roll-backs, no weights put back)
except in "together", so a curve shows what the recipe does. The autoencoder is a plain one unless
--rate is given: the original had no bottleneck of limited rate.
"""

from __future__ import annotations

import math
import platform
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.data import recorded_path
from volcodec.bench.records import load, rounded, save
from volcodec.errors import InputError
from volcodec.training import monitor
from volcodec.training.recipe import ORIGINAL, Recipe, recipe_for
from volcodec.training.run import places, train

Record = dict[str, Any]
VALIDATIONS = 60
LOOKS = 60  # in the results of a run
JUMP = 2.0  # times the best so far: a validation that counts as a spike

# What each changes in the original recipe; None instead: what `volcodec train` does by itself.
RECIPES: dict[str, Record | None] = {
    "original": {},
    "simpler loss": {"terms": ("mse",)},
    "2-D first": {"first_2d": 0.4},
    "SGD": {"optimiser": "sgd", "lr": 1e-3, "weight_decay": 0.0},
    "RMSprop": {"optimiser": "rmsprop", "momentum": 0.0, "weight_decay": 0.0},
    "VeLO": {"optimiser": "velo", "lr": 1.0, "weight_decay": 0.0},
    "lower rate": {"lr": 2e-5},
    "clipping": {"clip": 0.5},
    "beta1 0.9": {"betas": (0.9, 0.999)},
    "beta2 0.95": {"betas": (0.5, 0.95)},
    "squared Frobenius": {"frobenius": "squared", "per_voxel": True},
    "balanced terms": {"balance": True, "weights": (1.0, 0.1, 0.01)},
    "cosine": {"schedule": "cosine"},
    "early stopping": {"patience": 8},
    "weight decay": {"weight_decay": 0.1},
    "classical start": {"classical": True},
    "averaged weights": {"ema": 0.998},
    "together": None,
}


def recipe_of(name: str, seed: int, minutes: float, options: Record) -> Recipe:
    """The recipe of one run; ``options``: rate, width, patch, batch, steps, velo."""
    common = {
        "seed": seed, "budget": 60 * minutes, "device": "cpu", "validations": VALIDATIONS,
        "width": options["width"], "latents": options["width"], "patch": options["patch"],
        "batch": options["batch"], "rate": options["rate"], "look_every": 100, "curvature": True,
    }  # fmt: skip
    if options["steps"]:
        common["steps"] = options["steps"]
    changes = RECIPES[name]
    if changes is None:
        return recipe_for("unet", **common)
    if name == "VeLO":
        common["velo"] = options["velo"]
    return recipe_for("unet", **{**ORIGINAL, **common, **changes})


def outcome(folder: Path) -> Record:
    """What a finished run left in its log: curves, the best and the last error, looks inside."""
    records = list(monitor.read(folder / monitor.LOG))
    last_stage = next((r["stage"] for r in reversed(records) if "stage" in r), "")
    epochs = [r for r in records if r["kind"] == "epoch" and r["stage"] == last_stage]
    curve = [
        [r["step"], r["seconds"], _few(r["validation"].get("mse")), _few(r["train"].get("mse"))]
        for r in epochs
    ]
    errors = [math.inf if point[2] is None else point[2] for point in curve]
    best = min(errors)
    at = errors.index(best)
    jumps = sum(e > JUMP * min(errors[: i + 1]) for i, e in enumerate(errors))
    steps = [r for r in records if r["kind"] == "step" and r["stage"] == last_stage]
    looks = [{"step": r["step"], **{k: _few(v) for k, v in r["seen"].items()}}
             for r in steps if "seen" in r]  # fmt: skip
    notes = [r for r in records if r["kind"] == "note" and r["text"] == "finished"]
    (record,) = (r for r in notes[-1]["records"] if r["stage"] == last_stage)
    found = {
        "steps": record["steps"],
        "best_mse": _few(best),
        "best_step": curve[at][0],
        "final_mse": _few(errors[-1]),
        "highest_after_best": _few(max(errors[at:])),
        "jumps": jumps,
        "skipped": record["skipped_not_finite"] + record["skipped_exploding"],
        "rollbacks": record["rollbacks"],
        "ended": record["ended"],
        "curve": curve,
        "looks": looks[:: max(1, len(looks) // LOOKS)],
    }
    if "bpv" in epochs[at]["validation"]:
        found["rate"] = _rate([r["validation"] for r in epochs], at)
    return found


def _rate(seen: list[Record], at: int) -> Record:
    """Of a run with entropy models: bits per voxel, the whole loss, and each lambda by itself."""
    totals = [math.inf if v["total"] is None else v["total"] for v in seen]
    lambdas = sorted(key[len("mse") :] for key in seen[0] if key.startswith("mse@"))
    return {
        "bpv_at_best_mse": _few(seen[at]["bpv"]),
        "final_bpv": _few(seen[-1]["bpv"]),
        "best_total": _few(min(totals)),
        "final_total": _few(totals[-1]),
        "by_lambda": [
            {
                "best_mse": _few(min(math.inf if v["mse" + k] is None else v["mse" + k]
                                     for v in seen)),
                "final_mse": _few(seen[-1]["mse" + k]),
                "final_bpv": _few(seen[-1]["bpv" + k]),
            }
            for k in lambdas
        ],
    }  # fmt: skip


def _few(value: float | None) -> float | None:
    return None if value is None else rounded(value, 4)


def table(results: Record) -> str:
    """The study as Markdown: means over the seeds, the worst seed where that says more."""
    rows = [
        "| recipe | runs | best MSE | last MSE | last / best, worst seed | highest after the best "
        "/ best, worst seed | jumps above 2 x best | edge (median) | steps left out |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (n for n in RECIPES if n in results["recipes"]):
        recipe = results["recipes"][name]
        runs = list(recipe["seeds"].values())
        if not runs:
            rows.append(f"| {name} | 0 | {recipe.get('missing', '')} | | | | | | |")
            continue
        last = [_ratio(r["final_mse"], r["best_mse"]) for r in runs]
        high = [_ratio(r["highest_after_best"], r["best_mse"]) for r in runs]
        edges = sorted(
            look["edge"] for r in runs for look in r["looks"] if look.get("edge") is not None
        )
        cells = [
            name, str(len(runs)), _mean(r["best_mse"] for r in runs),
            _mean(r["final_mse"] for r in runs), f"{max(last):.2f}", f"{max(high):.2f}",
            str(sum(r["jumps"] for r in runs)),
            f"{edges[len(edges) // 2]:.2f}" if edges else "-",
            str(sum(r["skipped"] for r in runs)),
        ]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def seeds_table(results: Record) -> str:
    """Every run by itself, as Markdown."""
    rated = any("rate" in r for e in results["recipes"].values() for r in e["seeds"].values())
    heads = ["recipe", "seed", "best MSE", "at step", "last MSE", "last / best",
             "highest / best before it", "jumps above 2 x best",
             *(["bits per voxel at the best", "at the end"] if rated else [])]  # fmt: skip
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in (n for n in RECIPES if n in results["recipes"]):
        for seed, run in results["recipes"][name]["seeds"].items():
            cells = [
                name, seed, _shown(run["best_mse"]), str(run["best_step"]),
                _shown(run["final_mse"]), f"{_ratio(run['final_mse'], run['best_mse']):.2f}",
                f"{_highest_rise(run['curve']):.2f}", str(run["jumps"]),
                *([_shown(run["rate"][k]) for k in ("bpv_at_best_mse", "final_bpv")]
                  if "rate" in run else []),
            ]  # fmt: skip
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _highest_rise(curve: list[list[float | None]]) -> float:
    """The largest of a curve's validation errors over the best before it."""
    best, rise = math.inf, 1.0
    for _, _, error, _ in curve:
        if error is None:
            return math.inf
        best = min(best, error)
        rise = max(rise, error / best)
    return rise


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _ratio(value: float | None, best: float | None) -> float:
    return math.inf if value is None or not best else value / best


def _mean(values: Any) -> str:
    found = list(values)
    if any(v is None for v in found):
        return "not finite"
    return f"{math.exp(sum(map(math.log, found)) / len(found)):.3g}"


def run_all(
    data: tuple[str, ...], output: Path, work: Path, chosen: list[str], seeds: list[int],
    minutes: float, options: Record,
) -> None:  # fmt: skip
    """Run what is not in the results yet, saving them after every run."""
    results: Record = load(output) if output.exists() else {"recipes": {}}
    results["conditions"] = {
        "data": [recorded_path(Path(d)) for d in data], "minutes": minutes, **options,
        "validations": VALIDATIONS, "torch": torch.__version__, "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    work.mkdir(parents=True, exist_ok=True)
    for seed in seeds:  # all recipes with one seed first: a picture as early as possible
        for name in chosen:
            entry = results["recipes"].setdefault(name, {"seeds": {}})
            changes = RECIPES[name]
            entry["changes"] = None if changes is None else {
                k: list(v) if isinstance(v, tuple) else v for k, v in changes.items()
            }  # fmt: skip
            if str(seed) in entry["seeds"]:
                continue
            recipe = recipe_of(name, seed, minutes, options)
            # a run of another length, or without a rate, is not to be taken for this one
            kind = "rate" if recipe.rate else "plain"
            model = work / f"{name.replace(' ', '-')}-{seed}-{recipe.steps}-{kind}"
            try:
                train(data, model, recipe, force=True)
            except InputError as error:
                if name != "VeLO":  # which may lack its port or its weights
                    raise
                entry["missing"] = str(error).split(";")[0]
                save(output, results)
                continue
            found = outcome(places(model)[1])
            entry["seeds"][str(seed)] = found
            save(output, results)
            line = f"{name}, seed {seed}: best {found['best_mse']}, last {found['final_mse']}"
            click.echo(f"{line}, {found['steps']} steps, {found['jumps']} jumps")


@click.command()
@click.argument("data", nargs=-1, type=click.Path(exists=True))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The results, JSON.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("convergence-runs"),
              show_default=True, help="Folder of the runs.")  # fmt: skip
@click.option("--minutes", default=6.0, show_default=True, help="Of each run.")
@click.option("--steps", default=0, help="Of each run, instead of minutes: runs on a busy machine.")
@click.option("--seeds", default="1,2,3", show_default=True)
@click.option("--recipes", default=",".join(RECIPES), help="Only these, separated by commas.")
@click.option("--rate/--no-rate", default=False, help="With entropy models (needs CompressAI).")
@click.option("--width", default=16, show_default=True, help="Channels.")
@click.option("--patch", default=32, show_default=True, help="Edge in voxels.")
@click.option("--batch", default=4, show_default=True)
@click.option("--velo", default="", help="Folder of VeLO's weights.")
@click.option("--threads", default=1, show_default=True)
@click.option("--table", "shown", type=click.Path(exists=True, path_type=Path),
              help="Print results as a Markdown table and end.")  # fmt: skip
@click.option("--by-seed", is_flag=True, help="With --table: every run by itself.")
def main(
    data: tuple[str, ...], output: Path | None, work: Path, minutes: float, seeds: str,
    recipes: str, threads: int, shown: Path | None, by_seed: bool, **options: Any,
) -> None:  # fmt: skip
    """Run the study on the volumes of DATA (files and folders)."""
    if shown is not None:
        click.echo((seeds_table if by_seed else table)(load(shown)))
        return
    if not data or output is None:
        raise click.UsageError("DATA and -o are needed, or --table.")
    chosen = [name.strip() for name in recipes.split(",")]
    unknown = set(chosen) - set(RECIPES)
    if unknown:
        raise click.UsageError(f"no recipe {', '.join(sorted(unknown))}: {', '.join(RECIPES)}")
    torch.set_num_threads(threads)
    numbers = [int(seed) for seed in seeds.split(",")]
    run_all(data, output, work, chosen, numbers, minutes, options)
    click.echo(table(load(output)))


if __name__ == "__main__":
    main()
