"""How a command ends: its exit status, and the one line on standard error when it fails."""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from volcodec.errors import VolcodecError

DONE, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Commands(click.Group):
    """The top group: click's own, except for how errors end the process.

    Status 0 done, 1 the work failed, 2 wrong usage, 130 interrupted. A failure is one line
    on standard error and no traceback, unless VOLCODEC_DEBUG is set.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            status = super().main(args, prog_name, complete_var, False, **extra)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("volcodec: interrupted", err=True)
            sys.exit(INTERRUPTED)
        except Exception as error:
            if os.environ.get("VOLCODEC_DEBUG"):
                raise
            _fail(error)
        sys.exit(status if isinstance(status, int) else DONE)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of their use, not of the alphabet


def _fail(error: Exception) -> NoReturn:
    """End the process with status 1 and one line that says what went wrong."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        # the reader of our output went away, as `head` does: nobody is there to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        sys.exit(FAILED)
    click.echo("volcodec: " + " ".join(explain(error).split()), err=True)
    sys.exit(FAILED)


def explain(error: Exception) -> str:
    """Return what `error` means to a user."""
    if isinstance(error, VolcodecError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory: try a smaller --tile or fewer --threads"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return (
        f"internal error, {type(error).__name__}: {error} (please report it with the traceback "
        "that VOLCODEC_DEBUG=1 shows)"
    )


def run(commands: Commands) -> None:
    """Run `commands` as the main program of this process."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # standard error is for our own lines
    # as on Ctrl-C, what is half written is removed when a scheduler ends the process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    commands.main(prog_name="volcodec")
