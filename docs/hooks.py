"""What MkDocs runs while it builds these pages: the commands are written from click itself."""

from __future__ import annotations

import html
import inspect
from collections.abc import Iterator
from typing import Any

import click

PLACE = "<!-- the commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with every command where it says so."""
    if PLACE not in markdown:
        return markdown
    from volcodec.cli import commands

    group = commands.make_context("volcodec", [], resilient_parsing=True)
    parts = [line for name, c in commands.commands.items() for line in _command(name, c, group)]
    return markdown.replace(PLACE, "\n".join(parts))


def _command(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    """A command as Markdown: its usage, what it does, its options as --help has them."""
    context = click.Context(command, parent=parent, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## {name}\n"
    yield f"```text\nvolcodec {name} {usage}\n```\n"
    yield _escaped(inspect.cleandoc(command.help or "")) + "\n"
    yield "| option | what |\n| --- | --- |"
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is not None and record[1]:  # the usage has what has no text of its own
            option, text = record
            yield f"| `{option}` | {_escaped(text)} |"
    yield ""


def _escaped(text: str) -> str:
    """Text of --help, in which Markdown would see marks that are none."""
    text = html.escape(text, quote=False)
    for mark in "[*_|":
        text = text.replace(mark, "\\" + mark)
    return text
