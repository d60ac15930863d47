"""The volumes of a run: what is left out, the split by volume, patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training_cases import write_volumes
from volumes import blobs

from volcodec.errors import InputError
from volcodec.training import data


def test_what_can_not_be_trained_on_is_named(tmp_path: Path) -> None:
    folder = write_volumes(tmp_path / "data", 2)
    np.save(folder / "constant.npy", np.full((20, 20, 20), 3.0, np.float32))
    np.save(folder / "nothing.npy", np.full((20, 20, 20), np.nan, np.float32))
    (folder / "corrupt.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (folder / "cut.npy").write_bytes((folder / "a.npy").read_bytes()[:1000])
    found = data.gather([folder])
    assert sorted(v.name for v in found.training + found.validation) == ["a", "b"]
    assert len(found.skipped) == 4
    said = " ".join(why for _, why in found.skipped)
    for word in ("constant.npy is constant", "nothing.npy has no finite", "corrupt.h5", "cut.npy"):
        assert word in said
    for name in ("a", "b"):
        (folder / f"{name}.npy").unlink()
    with pytest.raises(InputError, match="none of the files can be trained on"):
        data.gather([folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no volumes"):
        data.gather([tmp_path / "empty"])


def test_split_is_by_volume(tmp_path: Path) -> None:
    for series, frames in (("smoke_a", 2), ("smoke_b", 2), ("ct", 1), ("mri", 1)):
        for i in range(frames):
            np.save(tmp_path / f"{series}_t{i}.npy", blobs((6, 7, 8), f"{series}{i}"))
    for seed in range(5):
        found = data.gather([tmp_path], "0.3", seed)
        kept, held = ({v.name for v in part} for part in (found.training, found.validation))
        assert len(kept) + len(held) == 6 and not kept & held and held
        for series in ("smoke_a", "smoke_b"):  # frames of a series stay together
            assert len({f"{series}_t0", f"{series}_t1"} & held) != 1
    other = tmp_path / "held"
    other.mkdir()
    np.save(other / "x.npy", blobs((6, 7, 8), "x"))
    found = data.gather([tmp_path], other)
    assert [v.name for v in found.validation] == ["x"] and len(found.training) == 6
    for wrong in ("0", "1.5"):
        with pytest.raises(InputError, match="between 0 and 1"):
            data.gather([tmp_path], wrong)


def test_one_volume_is_cut_in_two(tmp_path: Path) -> None:
    values = blobs((6, 30, 8), "one")
    np.save(tmp_path / "one.npy", values)
    found = data.gather([tmp_path / "one.npy"])
    (kept,), (held,) = found.training, found.validation
    assert (kept.shape, held.shape) == ((6, 24, 8), (6, 6, 8)) and found.notes
    whole = (slice(0, 6), slice(0, 6), slice(0, 8))
    assert np.array_equal(held[whole], values[:, 24:])


def test_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (blobs((20, 9, 40), "holes") * 50 - 10).astype(np.float32)
    values[3:6] = np.nan
    values[10, 4, 4] = np.inf
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", blobs((33, 31), "flat"))
    kept = data.gather([tmp_path], "0.5")
    monkeypatch.setattr(data, "IN_MEMORY", 0)  # patch by patch from the files
    read = data.gather([tmp_path], "0.5")
    for found in (kept, read):
        rng = np.random.default_rng(4)
        for dims in (2, 3):
            x, zero = data.draw_patch(found, dims, 16, rng)
            assert x.shape == (16,) * dims and x.dtype == np.float32
            assert np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1 and 0 <= zero < 1
    same = [data.draw_patch(found, 3, 16, np.random.default_rng(5))[0] for found in (kept, read)]
    assert np.array_equal(same[0], same[1])
    fixed = data.fixed_patches(kept.validation, 2, 16, 4)
    again = data.fixed_patches(read.validation, 2, 16, 4)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(fixed, again, strict=True))


def test_a_file_that_goes_away_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "IN_MEMORY", 0)
    folder = write_volumes(tmp_path, 3)
    found = data.gather([folder])
    found.training[0].path.unlink()
    rng = np.random.default_rng(0)
    for _ in range(12):
        data.draw_patch(found, 3, 16, rng)
    assert len(found.training) == 1 and "can't be read any more" in found.skipped[0][1]
