"""A model of pyramid banks whose networks' weights are rounded to 8 bits, row by row.

``python -m benchmarks.narrow density-3 -o models/density-4.safetensors``
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from volcodec import models
from volcodec.formats.atomic import atomic_output
from volcodec.training import banks, fit
from volcodec.training.pyramid import as_state, of_state


@click.command(help=__doc__)
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace OUTPUT if it exists.")
def main(model: str, output: Path, force: bool) -> None:
    start = models.load(model)
    rounded = {}
    for name, bank in start.banks.items():
        whole = of_state(as_state(bank))
        last = fit.narrow(whole.w3[:, None])[:, 0]
        rounded[name] = replace(whole, w1=fit.narrow(whole.w1), w2=fit.narrow(whole.w2), w3=last)
    note = f"{start.name} with weights of networks rounded to 8 bits times a power of two a row"
    card = {**start.card, "note": note, "from": start.name, "from_identity": start.identity.hex()}
    blob = banks.pack(rounded, card)
    models.read(blob, output.stem)
    with atomic_output(output, force=force) as file:
        file.write(blob)


if __name__ == "__main__":
    main()
