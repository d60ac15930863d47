"""What happened in a run, for machines (log.jsonl), TensorBoard and the page at its end.

Each line of log.jsonl is an object with ``kind``: "step" (means over the ``steps`` since the last
line), "epoch" (a validation), "event" (something was left out or taken back) and "note".
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

LOG, PICTURES = "log.jsonl", "pictures"
_EVERY_SECONDS = 0.2  # between two lines of steps, when steps are faster than that
_PICTURES = 10  # of each kind and stage


class Monitor:
    """Writes the log of a run into ``folder``; without a folder (other ranks) it is silent.

    Args:
        folder: of the run.
        keep: bytes of the log to keep, where a run goes on; None starts a new one.
        validations: of a stage, from which pictures are taken evenly.
    """

    def __init__(self, folder: Path | None, keep: int | None = None, validations: int = 20) -> None:
        self.folder = folder
        self.every = max(1, validations // _PICTURES)
        self.sums: dict[str, float] = {}
        self.epoch_sums: dict[str, list[float]] = {}
        self.steps, self.written = 0, 0.0
        self.epochs: dict[str, int] = {}
        self.board: Any = None
        if folder is None:
            return
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)
        path = folder / LOG
        if keep is None or not path.exists():
            path.write_bytes(b"")
            for old in (folder / PICTURES).glob("*.png"):
                old.unlink()
        else:
            os.truncate(path, min(keep, path.stat().st_size))
            for record in read(path):
                if record["kind"] == "epoch":
                    self.epochs[record["stage"]] = self.epochs.get(record["stage"], 0) + 1
        self.file = path.open("ab")
        self.board = _board(folder)

    @property
    def position(self) -> int:
        """Bytes of the log so far; what a checkpoint remembers."""
        return self.file.tell() if self.folder is not None else 0

    def _write(self, record: Mapping[str, Any]) -> None:
        if self.folder is None:
            return
        self.file.write(json.dumps(_plain(record), allow_nan=False).encode() + b"\n")
        self.file.flush()

    def note(self, text: str, **more: Any) -> None:
        """Something about the run as a whole."""
        self._write({"kind": "note", "text": text, **more})

    def event(self, stage: str, step: int, what: str, **more: Any) -> None:
        """Something that should not happen often."""
        self._write({"kind": "event", "stage": stage, "step": step, "what": what, **more})

    def step(
        self, stage: str, step: int, seconds: float, rate: float, norm: float,
        terms: Mapping[str, float], seen: Mapping[str, float],
    ) -> None:  # fmt: skip
        """One step: its terms, the norm of its gradient before clipping, what was looked at."""
        if self.folder is None:
            return
        self.steps += 1
        for name, value in (*terms.items(), ("norm", norm)):
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.epoch_sums.setdefault(name, []).append(value)
        now = time.monotonic()
        if not seen and now - self.written < _EVERY_SECONDS:
            return
        means = {name: total / self.steps for name, total in self.sums.items()}
        record = {"kind": "step", "stage": stage, "step": step, "seconds": round(seconds, 2),
                  "steps": self.steps, "rate": rate, "terms": means}  # fmt: skip
        if seen:
            record["seen"] = dict(seen)
        self._write(record)
        if self.board is not None:
            for name, value in (*means.items(), *seen.items(), ("rate", rate)):
                self.board.add_scalar(f"{stage}/train/{name}", value, step)
        self.sums, self.steps, self.written = {}, 0, now

    def epoch(
        self, stage: str, step: int, seconds: float, found: Mapping[str, float], verdict: str,
        inside: Mapping[str, Any], counts: Mapping[str, int],
    ) -> None:  # fmt: skip
        """One validation, the means of training since the last, and the inside of the model.

        ``inside``: "histograms" {name: {"reach", "counts"}} over -reach..reach, "dead" {name:
        [channels that carry nothing, channels]}, "pictures" {name: 2-D array}; all may be absent.
        """
        if self.folder is None:
            return
        index = self.epochs.get(stage, 0)
        self.epochs[stage] = index + 1
        train = {n: _finite_mean(values) for n, values in self.epoch_sums.items()}
        self.epoch_sums = {}
        names = {}
        for name, picture in inside.get("pictures", {}).items():
            if index % self.every:
                break
            names[name] = f"{stage}-{index:04d}-{name}.png"
            write_picture(self.folder / PICTURES / names[name], picture)
            if self.board is not None:
                self.board.add_image(f"{stage}/{name}", _unit(picture)[None], step)
        self._write(
            {"kind": "epoch", "stage": stage, "step": step, "seconds": round(seconds, 2),
             "validation": dict(found), "train": train, "verdict": verdict, **counts,
             "histograms": inside.get("histograms", {}), "dead": inside.get("dead", {}),
             "pictures": names}
        )  # fmt: skip
        if self.board is not None:
            for name, value in found.items():
                self.board.add_scalar(f"{stage}/validation/{name}", value, step)
            self.board.flush()

    def close(self) -> None:
        """End the log."""
        if self.folder is not None:
            self.file.close()
        if self.board is not None:
            self.board.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a log; a last line that was cut off is left out."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                return


def write_picture(path: Path, values: np.ndarray) -> None:
    """A 2-D array as a grey PNG, its least value black and its largest white."""
    from PIL import Image

    grey = np.rint(255 * _unit(values)).astype(np.uint8)
    scale = max(1, 128 // max(grey.shape))
    grey = grey.repeat(scale, axis=0).repeat(scale, axis=1)
    Image.fromarray(grey).save(path)


def _unit(values: np.ndarray) -> np.ndarray:
    x = np.nan_to_num(np.asarray(values, dtype=np.float32))
    low, high = float(x.min()), float(x.max())
    return (x - low) / (high - low) if high > low else np.zeros_like(x)


def _finite_mean(values: list[float]) -> float | None:
    good = [v for v in values if math.isfinite(v)]
    return sum(good) / len(good) if good else None


def _plain(value: Any) -> Any:
    """JSON's own types; numbers that JSON lacks become null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _board(folder: Path) -> Any:
    """TensorBoard's writer, None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
