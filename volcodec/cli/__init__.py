"""The command line: `volcodec COMMAND ...`; one module per group of commands."""

from __future__ import annotations

import click

from volcodec.cli import bench, coding, pictures, reports, train
from volcodec.cli.group import Commands, run


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=reports.show_version,
    help="Show the version and exit.",
)
def commands() -> None:
    """Learned compression of scientific volumes, with promises that hold for every voxel."""


for command in (
    *coding.COMMANDS,
    *reports.COMMANDS,
    *pictures.COMMANDS,
    *train.COMMANDS,
    *bench.COMMANDS,
):
    commands.add_command(command)


def main() -> None:
    """Run the command line of this process and exit with its status."""
    run(commands)
