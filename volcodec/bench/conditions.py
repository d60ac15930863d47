"""Under which conditions a study was made, as its report prints them."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import volcodec
from volcodec.parallel import thread_count

PACKAGE = Path(volcodec.__file__).parent
_LIBRARIES = ("numpy", "numba", "torch", "h5py", "zstandard", "imagecodecs", "scikit-image")
# what makes a file, and with what speed
_CODING = ("adaptive", "container", "entropy", "restoration", "support", "transform")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that have a part in the figures."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """What the CPU calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def gpu() -> str | None:
    """The name of the CUDA device, None where there is none."""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def commit() -> str | None:
    """The commit of the source tree that volcodec runs from, with ``+`` where it was changed."""

    def git(*arguments: str) -> str:
        call = ["git", "-C", str(PACKAGE), *arguments]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if git("ls-files", "--error-unmatch", "__init__.py") != "__init__.py":
            return None
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def code_identity() -> str:
    """A digest of the sources that make a file: what was measured holds as long as it does."""
    digest = hashlib.sha256()
    files = sorted(PACKAGE.glob("*.py"))
    for folder in _CODING:
        files += sorted((PACKAGE / folder).rglob("*.py"))
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def conditions(
    command: str,
    device: str,
    jobs: int,
    quick: bool,
    support: str,
    effort: int,
    models: list[dict[str, Any]],
) -> dict[str, Any]:
    """The conditions as results hold them."""
    return {
        "command": command,
        "volcodec": volcodec.__version__,
        "commit": commit(),
        "versions": versions(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": processor(),
        "cores": thread_count(None),
        "processors": os.cpu_count(),
        "gpu": gpu() if device != "cpu" else None,
        "device": device,
        "jobs": jobs,
        "quick": quick,
        "support": support,
        "effort": effort,
        "models": models,
    }
