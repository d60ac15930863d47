"""`volcodec bench`: rate-distortion and speed of volcodec beside its peers, on any volumes.

The pipeline is study.py: volumes.py says what is measured, peers/ with what, points.py how one
point is, games.py and bdrate.py what the points mean, throughput.py how fast it goes, report/ how
it is shown. docs/benchmarking.md states the test conditions.
"""

from __future__ import annotations

from typing import Any

__all__ = ["bench"]


def __getattr__(name: str) -> Any:
    if name == "bench":
        from volcodec.bench.study import bench

        return bench
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
