"""Files that appear whole or not at all: written beside their place and renamed into it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from volcodec.errors import InputError, VolcodecError

_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_LONGEST_NAME = 200  # of the 255 bytes that file systems allow, less what the temporary name adds


def check_target(path: str | os.PathLike[str], force: bool = False) -> Path:
    """Return where `path` really is (links followed), once it is fit to be written.

    Raises InputError where it exists and `force` is not given, where it is not an ordinary
    file, or where its folder is missing or not writable.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if mode is not None and not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "not an ordinary file"
        raise InputError(f"{path} is {what}: name a file to write")
    if mode is not None and not force:
        raise InputError(f"{path} exists: choose another name or replace it with --force")
    if not target.parent.is_dir():
        raise InputError(f"{path}: the folder {target.parent} does not exist: create it first")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{path}: the folder {target.parent} is not writable")
    return target


def temporary_beside(target: Path) -> Path:
    """Return a fresh name `.NAME.xxxxxxxx.part` in the target's folder."""
    name = os.fsdecode(os.fsencode(target.name)[:_LONGEST_NAME])
    return target.with_name(f".{name}.{os.urandom(4).hex()}.part")


def explain_write_error(error: OSError, path: str | os.PathLike[str]) -> VolcodecError:
    """Return the volcodec error that says in one line why `path` could not be written."""
    if error.errno in _NO_SPACE:
        return VolcodecError(
            f"{path}: no space left to write it: free some or write to another disk"
        )
    return VolcodecError(f"{path} can't be written: {error.strerror or error}")


class AtomicFile:
    """A temporary file that `commit` renames to its target and `abort` removes.

    `temporary` is its path. Once either of `commit` and `abort` was called, further calls of
    `abort` do nothing.
    """

    def __init__(
        self, path: str | os.PathLike[str], force: bool = False, expected: int = 0
    ) -> None:
        """Make the temporary file; VolcodecError where the disk can't hold `expected` bytes."""
        self.path = path
        self.force = force
        self.target = check_target(path, force)
        # said now, and not when the disk has been filled
        if expected and expected > shutil.disk_usage(self.target.parent).free:
            raise VolcodecError(
                f"{path}: no space left to write it: it takes {expected:,} bytes, free some or "
                "write to another disk"
            )
        self.temporary = temporary_beside(self.target)
        try:
            # mode "x" and not mkstemp: the result gets the permissions of any new file
            self.temporary.touch(exist_ok=False)
        except OSError as error:
            raise explain_write_error(error, path) from error
        self._pending = True

    def commit(self) -> None:
        """Rename the temporary file, closed by now, to the target.

        Raises InputError where the target came to exist meanwhile and force is not given.
        """
        try:
            check_target(self.path, self.force)
            with open(self.temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(self.temporary, self.target)
        except OSError as error:
            self.abort()
            raise explain_write_error(error, self.path) from error
        except BaseException:
            self.abort()
            raise
        self._pending = False

    def abort(self) -> None:
        """Remove the temporary file."""
        if self._pending:
            self._pending = False
            with suppress(OSError):
                self.temporary.unlink()


@contextmanager
def atomic_output(path: str | os.PathLike[str], force: bool = False) -> Iterator[BinaryIO]:
    """Yield a seekable binary file, open to write and read, that becomes `path` at the end.

    It is written as `.NAME.xxxxxxxx.part` beside `path` and renamed when the block ends
    well; when the block raises, it is removed and `path` stays as it was.
    Raises InputError where `path` exists and `force` is not given (looked at before and
    after) and VolcodecError where the disk is full or the file can't be written.
    """
    output = AtomicFile(path, force)
    try:
        with open(output.temporary, "w+b") as file:
            try:
                yield file
                file.flush()
            except OSError as error:
                if error.errno in _NO_SPACE:
                    # what is still buffered can't be written either: closing would raise anew
                    with suppress(OSError):
                        file.close()
                    raise explain_write_error(error, path) from error
                raise
    except BaseException:
        output.abort()
        raise
    output.commit()
