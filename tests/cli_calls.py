"""Calls of the command line, here or in a process of its own, and what must be true of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

import volcodec
from volcodec.cli import commands

MAIN = "from volcodec.cli import main; main()"


def call(*args: Any) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(commands, [str(arg) for arg in args])


def works(*args: Any) -> Result:
    """Run a command that must succeed."""
    result = call(*args)
    assert result.exit_code == 0, result.output
    return result


def fails(result: Result, status: int, *words: str) -> None:
    """Assert that a call failed with `status`, without traceback; status 1 with one line."""
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    if status == 1:
        assert result.stderr.startswith("volcodec: ")
        assert result.stderr.count("\n") == 1
        assert "internal error" not in result.stderr


def environment() -> dict[str, str]:
    """The variables with which another process finds the very package under test."""
    package = Path(volcodec.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": str(package)}


def run(*args: Any, code: str = MAIN, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python `code`, by default the command line, in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, args)]
    options = {"capture_output": True, "env": environment(), **options}
    return subprocess.run(command, text=True, check=False, **options)


# what a shell starts in the background ignores Ctrl-C, and so do its children
HEEDS_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def start(*args: Any, code: str = MAIN) -> subprocess.Popen[str]:
    """The same without waiting for its end."""
    command = [sys.executable, "-c", f"{HEEDS_INTERRUPTS}\n{code}", *map(str, args)]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment())


def names(folder: Path) -> list[str]:
    """The names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())
