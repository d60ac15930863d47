"""Checkpoints: one file, replaced whole, from which a run goes on as if it had not been cut off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import InputError

NAME = "checkpoint.pt"
FORMAT = 1


def save(fabric: Any, folder: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint beside its place and rename it there; to be called on all ranks."""
    path = folder / NAME
    partial = path.with_name(NAME + ".part")
    fabric.save(partial, {"format": FORMAT, **content})
    if fabric.is_global_zero:
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)


def load(folder: Path) -> dict[str, Any] | None:
    """The checkpoint of a run, None where there is none.

    Tensors come back on the CPU; nothing in the file is executed. Raises InputError where it is
    damaged or of another version.
    """
    import torch

    path = folder / NAME
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']}")
    except Exception as error:  # whatever a damaged file provokes in the reader
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"the checkpoint {path} can't be read ({reason}): --fresh starts anew"
        ) from None
    return content
