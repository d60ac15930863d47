"""Bare voxels: their shape and dtype are given, and checked against the size of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_calls import call, fails, works
from format_cases import ramp

import volcodec
from volcodec.errors import InputError
from volcodec.formats import is_volume, open_series


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u2", "f2", ">f4", "f8"])
@pytest.mark.parametrize("shape", [(5, 6, 7), (6, 7), (1, 1, 1)])
def test_voxels_come_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    original, packed = tmp_path / "a.raw", tmp_path / "a.vc"
    ramp(dtype, shape).tofile(original)
    volcodec.compress(original, packed, shape=shape, dtype=dtype, lossless=True)
    volcodec.decompress(packed, tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == original.read_bytes()
    assert volcodec.decode(packed.read_bytes()).dtype == np.dtype(dtype)


def test_command_line(tmp_path: Path) -> None:
    original, packed = tmp_path / "a.raw", tmp_path / "a.vc"
    frames = np.stack([ramp(">u2"), ramp(">u2")[::-1]])
    frames.tofile(original)
    layout = ("--shape", "2,5,6,7", "--dtype", ">u2")
    fails(call("compress", original, packed), 1, "--shape", "--dtype")
    fails(call("compress", original, packed, "--shape", "5,6,x", "--dtype", "u1"), 2, "Z,Y,X")
    works("compress", original, packed, "--lossless", *layout)
    assert volcodec.inspect(packed).frames == 2
    works("verify", packed, "--against", original, *layout)
    works("view", original, "-o", tmp_path / "a.png", *layout)
    works("decompress", packed, tmp_path / "b.raw")
    assert (tmp_path / "b.raw").read_bytes() == original.read_bytes()
    fails(call("decompress", packed, tmp_path / "b.raw"), 1, "--force")
    fails(call("compress", original, tmp_path / "c.raw"), 2, "OUT comes last")


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        (None, None, "--shape Z,Y,X"),
        ((5, 6, 7), None, "--dtype NAME"),
        ((5, 6, 8), "u2", r"420 bytes; 5 x 6 x 8 voxels of uint16 take 480"),
        ((-5, -6, 7), "u2", "check --shape"),
        ((1 << 40, 1 << 40, 1 << 40), "u2", "check --shape"),
        ((5, 6, 7), "float99", "no dtype"),
        ((5, 6, 7), "O", "doesn't take"),
        ((5, 6, 7), "bool", "uint8"),
        ((210,), "u2", "reshape"),
        ((1, 1, 5, 6, 7), "u2", "5 dimensions"),
    ],
)
def test_refused(tmp_path: Path, shape: Any, dtype: Any, words: str) -> None:
    ramp("u2").tofile(tmp_path / "a.raw")
    with pytest.raises(InputError, match=words):
        open_series(tmp_path / "a.raw", None, shape, dtype)


def test_layout_is_for_bare_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp("u2"))
    with pytest.raises(InputError, match="says itself"):
        open_series(tmp_path / "a.npy", None, (5, 6, 7), "u2")
    names = ("a.nii", "a.nii.gz", "A.TIF", "a.raw", "a.gz", "nii", "a.vc")
    assert [is_volume(name) for name in names] == [True, True, True, False, False, False, False]
