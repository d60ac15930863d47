"""The device path: that it gives the processor's values and bytes, and how fast.

Cubes of generated smoke (with and without exact support) and of smoke without empty space lie on
the CUDA device, are encoded by `--fast` at a relative error of 1e-3 and decoded to another tensor
there; files as they come by default, written by the processor, are decoded too (of cubes of at most
256³). Median of several after a warm-up, GB/s of raw data (10^9 bytes); the ceiling is a copy on
the device. Values, bytes and the bound are checked, and files of every coding that the processor
wrote. `--profile` lists the kernels that take longest.

    python -m benchmarks.device -o benchmarks/results/device.json

Where there is no CUDA device it says so and measures nothing.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.generate import smoke
from volcodec.bench import conditions
from volcodec.bench.records import rounded, save

Record = dict[str, Any]
GOLDEN = Path(__file__).parents[1] / "tests" / "golden"


def dense(size: int) -> np.ndarray:
    """Smoke, and a slow wave where there is none: no voxel is zero."""
    field = smoke(size)
    z, y, x = np.ogrid[:size, :size, :size]
    wave = np.sin(z * (9.0 / size)) * np.cos(y * (7.0 / size)) + np.sin(x * (5.0 / size) + 0.3)
    return (field + 0.2 * wave).astype(np.float32)


def _wait() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _seconds(call: Callable[[], Any], repeats: int) -> list[float]:
    call()
    out = []
    for _ in range(repeats):
        _wait()
        began = time.perf_counter()
        call()
        _wait()
        out.append(time.perf_counter() - began)
    return out


def _rate(nbytes: int, seconds: list[float]) -> float | None:
    return rounded(nbytes / 1e9 / statistics.median(seconds), 4)


def measure(
    name: str, volume: np.ndarray, place: Any, model: str, repeats: int, support: str = "auto",
    default: bool = True,
) -> Record:  # fmt: skip
    """Check and time one volume on the device ``place``; ``default``: also its default file."""
    import torch

    import volcodec

    codec = volcodec.Codec(model)
    tensor = torch.from_numpy(volume).to(place)
    out = torch.empty_like(tensor)
    how: Record = {"rel_error": 1e-3, "support": support}

    def encode() -> bytes:
        return codec.encode(tensor, fast=True, **how)

    kinds: dict[str, bytes] = {"fast": encode()}
    if default:
        kinds["default"] = codec.encode(volume, **how)
    record: Record = {
        "volume": name,
        "shape": list(volume.shape),
        "support": support,
        "same_bytes": kinds["fast"] == codec.encode(volume, fast=True, **how),
        "copy_gb_s": _rate(volume.nbytes, _seconds(lambda: out.copy_(tensor), repeats)),
        "encode_fast_gb_s": _rate(volume.nbytes, _seconds(encode, repeats)),
    }
    for kind, blob in kinds.items():
        codec.decode(blob, out=out)
        bound = volcodec.inspect(blob).bound
        want = torch.from_numpy(codec.decode(blob, device="cpu")).to(place)
        record[f"same_values_{kind}"] = bool(torch.equal(out, want))
        record[f"bound_held_{kind}"] = bool((out - tensor).abs().max().item() <= bound)
        del want
        took = _seconds(lambda b=blob: codec.decode(b, out=out), repeats)  # type: ignore[misc]
        record[f"decode_{kind}_gb_s"] = _rate(volume.nbytes, took)
        record[f"ratio_{kind}"] = rounded(volume.nbytes / len(blob), 4)
    print(json.dumps(record), flush=True)
    return record


def golden(place: Any) -> Record:
    """Files that the processor wrote, of every coding: how many decode to the same bits."""
    import torch

    import volcodec

    found: dict[str, bool] = {}
    for path in sorted(GOLDEN.glob("*.vc")):
        want = volcodec.decode(path)
        native = want.astype(want.dtype.newbyteorder("="))
        out = torch.from_numpy(native).to(place)
        volcodec.decode(path, out=out.zero_())
        found[path.stem] = out.cpu().numpy().tobytes() == native.tobytes()
    wrong = [name for name, same in found.items() if not same]
    return {"files": len(found), "wrong": wrong}


def profile(volume: np.ndarray, place: Any, model: str) -> list[Record]:
    """The kernels that take longest in one encode and one decode."""
    import torch
    from torch.profiler import ProfilerActivity

    import volcodec

    codec = volcodec.Codec(model)
    tensor = torch.from_numpy(volume).to(place)
    blob = codec.encode(tensor, rel_error=1e-3, fast=True)
    codec.decode(blob, out=tensor.clone())
    out = []
    actions: dict[str, Callable[[], Any]] = {
        "encode": lambda: codec.encode(tensor, rel_error=1e-3, fast=True),
        "decode": lambda: codec.decode(blob, out=tensor.clone()),
    }
    for step, action in actions.items():
        with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as told:
            action()
            _wait()
        events = sorted(told.key_averages(), key=lambda e: -e.device_time_total)[:12]
        out += [
            {"step": step, "kernel": e.key[:60], "calls": e.count,
             "ms": rounded(e.device_time_total / 1e3, 4)}
            for e in events
        ]  # fmt: skip
    return out


def main() -> int:
    import torch

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON to write")
    parser.add_argument("--model", default="density", help="a model's name or path")
    parser.add_argument("--sizes", default="256,512", help="voxels along each axis, with commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="list the longest kernels too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was measured")
        return 0
    place = torch.device("cuda")
    result: Record = {
        "date": datetime.date.today().isoformat(), "device": conditions.gpu(),
        "command": f"python -m benchmarks.device --sizes {options.sizes}"
        f" --repeats {options.repeats}",
        "torch": torch.__version__, "results": [],
    }  # fmt: skip
    for size in (int(n) for n in options.sizes.split(",")):
        for name, make, supports in (("dense", dense, ["auto"]), ("smoke", smoke, ["auto", "off"])):
            volume = make(size)
            for support in supports:
                row = measure(
                    f"{name}{size}", volume, place, options.model, options.repeats, support,
                    size <= 256 and support == "auto",
                )  # fmt: skip
                result["results"].append(row)
                if options.profile:
                    row["kernels"] = profile(volume, place, options.model)
                save(options.output, result)  # what there is, should the time end here
    result["golden"] = golden(place)
    save(options.output, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
