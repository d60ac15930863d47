"""Writes the golden files that are not there yet: one for each feature of the format.

    python tests/golden/make.py

Each release of the format adds files of its own and never touches those that are there: what a
released version wrote stays readable. ``expected.json`` holds, for each file, the dtype, the shape
and the SHA-256 of the decoded array (C order, little-endian), of its preview at level 1 and of the
file itself: what another implementation of docs/format.md can be checked against.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parents[1])]

from golden_cases import CASES, expected_of, made  # noqa: E402

from volcodec.container import MAJOR, MINOR  # noqa: E402


def main() -> None:
    listing = FOLDER / "expected.json"
    expected = json.loads(listing.read_text("utf-8")) if listing.exists() else {}
    for name in CASES:
        path = FOLDER / f"{MAJOR}.{MINOR}-{name}.vc"
        if path.exists():
            continue
        blob = made(name)
        expected[path.name] = expected_of(blob)
        path.write_bytes(blob)
        print(f"{path.name}: {len(blob)} bytes")
    text = json.dumps(dict(sorted(expected.items())), indent=1) + "\n"
    listing.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
