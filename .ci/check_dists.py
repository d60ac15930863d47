"""What an sdist and a wheel must hold: python .ci/check_dists.py FOLDER (where they lie)."""

from __future__ import annotations

import configparser
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
ENTRY_POINTS = {
    "console_scripts": {"volcodec"},
    "napari.manifest": {"volcodec"},
    "numcodecs.codecs": {"volcodec"},
    "xarray.backends": {"volcodec"},
    "zarr.codecs": {"volcodec"},
}
# beside the package: what its tests read, and what builds it and its pages
SHIPPED = (".ci", "benchmarks", "docs", "models", "tests", "volcodec")
SINGLE = ("CHANGELOG.md", "LICENSE", "README.md", "mkdocs.yml", "pyproject.toml")
CACHES = ("__pycache__", ".nbi", ".nbc", ".pyc")


def sources(*folders: str) -> set[str]:
    """The files of some folders of the source tree, without what running it leaves behind."""
    found = {p.relative_to(ROOT) for folder in folders for p in (ROOT / folder).rglob("*")}
    return {p.as_posix() for p in found if (ROOT / p).is_file() and not cached(p.as_posix())}


def cached(name: str) -> bool:
    """Whether a file is what running Python leaves behind."""
    return any(word in name for word in CACHES)


def only(folder: Path, pattern: str) -> Path:
    """The one file of a pattern."""
    (path,) = folder.glob(pattern)
    return path


def faults_of_sdist(path: Path) -> list[str]:
    """What is missing, or should not be there."""
    with tarfile.open(path) as file:
        names = {
            PurePosixPath(*PurePosixPath(member.name).parts[1:]).as_posix()
            for member in file.getmembers()
            if member.isfile()
        }
    wanted = sources(*SHIPPED) | set(SINGLE)
    extra = names - wanted - {"PKG-INFO", ".gitignore"}
    return [
        *(f"the sdist lacks {name}" for name in sorted(wanted - names)),
        *(f"the sdist should not hold {name}" for name in sorted(extra)),
    ]


def faults_of_wheel(path: Path) -> list[str]:
    """What is missing, or should not be there."""
    with zipfile.ZipFile(path) as file:
        names = set(file.namelist())
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        points = configparser.ConfigParser()
        points.read_string(file.read(f"{info}/entry_points.txt").decode())
    wanted = sources("volcodec") | {
        name.replace("models/", "volcodec/weights/", 1) for name in sources("models")
    }
    held = {name for name in names if not name.startswith(f"{info}/")}
    licences = {name for name in names if name.startswith(f"{info}/licenses/")}
    found = {section: set(points[section]) for section in points.sections()}
    return [
        *(f"the wheel lacks {name}" for name in sorted(wanted - held)),
        *(f"the wheel should not hold {name}" for name in sorted(held - wanted)),
        *([] if "volcodec/py.typed" in held else ["the wheel lacks py.typed"]),
        *([] if licences else ["the wheel lacks the licence"]),
        *([] if found == ENTRY_POINTS else [f"the wheel's entry points are {found}"]),
    ]


def main() -> None:
    """Print what is wrong; status 1 where something is."""
    folder = Path(sys.argv[1])
    sdist, wheel = only(folder, "*.tar.gz"), only(folder, "*.whl")
    faults = faults_of_sdist(sdist) + faults_of_wheel(wheel)
    print("\n".join(faults) or f"{sdist.name} and {wheel.name} are complete")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
