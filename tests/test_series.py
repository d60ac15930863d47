"""Series: tiles that follow the frame before, and what holds of them as of any other tile."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from volumes import DTYPES, blobs, of_dtype, random_of

import volcodec
from volcodec import motion
from volcodec.container import Reader
from volcodec.tilecoder import TileCoder
from volcodec.tiledecoder import FOLLOWS, GROUP

SHAPE = (17, 20, 15)


def drifting(count: int, shape: tuple[int, int, int] = SHAPE, dtype: str = "float32") -> list[Any]:
    """A field that moves by a voxel a frame and changes a little."""
    field = of_dtype(dtype, shape).astype(np.float64)
    change = 0.01 * (field.max() - field.min()) * blobs(shape, "change", zeros=False)
    frames = []
    for i in range(count):
        frame = np.roll(field, i, 2) + i * change * (field != 0)
        if np.dtype(dtype).kind in "iu":
            info = np.iinfo(dtype)
            frame = np.clip(np.rint(frame), info.min, info.max)
        frames.append(frame.astype(dtype))
    return frames


def compressed(frames: list[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    volcodec.compress(frames, out, **options)
    return out.getvalue()


def damaged(blob: bytes, tile: int) -> bytes:
    """The file with one byte of a tile's payload changed."""
    last = Reader(blob).streams(tile, 0, Reader(blob).header.streams)[2][-8:]
    assert blob.count(last) == 1
    at = blob.index(last)
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


def following(blob: bytes) -> list[int]:
    return [i for i, e in enumerate(Reader(blob).index) if e.flags & FOLLOWS]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", [{"rel_error": 1e-2}, {"lossless": True}, {"psnr": 40.0}])
def test_every_dtype_keeps_its_promise(dtype: str, target: dict[str, Any]) -> None:
    frames = drifting(3, (9, 12, 10), dtype)
    blob = compressed(frames, **target)
    report = volcodec.verify(blob, against=frames)
    assert report.ok, report.problems
    again = volcodec.decode(blob)
    assert again.dtype == np.dtype(dtype) and again.shape == (3, 9, 12, 10)


def test_frames_that_follow_closely_are_smaller() -> None:
    frames = drifting(4, (40, 40, 40))
    blob = compressed(frames, max_error=1e-3)
    alone = sum(len(compressed([f], max_error=1e-3)) for f in frames)
    assert following(blob) == [1, 2, 3]
    assert len(blob) < 0.7 * alone


def test_a_series_begins_anew() -> None:
    frames = drifting(GROUP + 3, (12, 12, 12))
    blob = compressed(frames, max_error=1e-3)
    assert 0 not in following(blob) and GROUP not in following(blob)
    assert GROUP + 1 in following(blob)
    whole = volcodec.decode(blob)
    for i in (GROUP - 1, GROUP + 2, 3):
        assert np.array_equal(volcodec.decode(blob, frame=i), whole[i])


def test_regions_previews_and_threads() -> None:
    frames = drifting(3, (30, 33, 20))
    blobs_ = {compressed(frames, rel_error=1e-3, tile=16, threads=n) for n in (1, 2, 5)}
    assert len(blobs_) == 1
    (blob,) = blobs_
    assert following(blob)
    whole = volcodec.decode(blob, threads=1)
    assert np.array_equal(whole, volcodec.decode(blob, threads=4))
    part = volcodec.decode(blob, frame=2, region=np.s_[3:20, :, 15:18])
    assert np.array_equal(part, whole[2, 3:20, :, 15:18])
    coarse = volcodec.decode(blob, frame=2, level=1)
    assert coarse.shape == (15, 17, 10)
    assert np.abs(coarse - whole[2, ::2, ::2, ::2]).mean() < 0.1


def test_specials_and_support_in_a_series() -> None:
    still = blobs(SHAPE, "still", zeros=False).astype(np.float32)
    frames = [still * np.float32(1 + 0.001 * i) for i in range(3)]
    for i, frame in enumerate(frames):
        frame[1, 3 : 6 + i], frame[9, 9, 9] = np.nan, np.inf
        frame[:, :, 12:] = 0
    blob = compressed(frames, rel_error=1e-3, support="exact")
    assert following(blob)
    assert volcodec.verify(blob, against=frames).ok
    for frame, again in zip(frames, volcodec.decode(blob), strict=True):
        assert np.array_equal(np.isnan(frame), np.isnan(again))
        assert np.array_equal(frame == 0, again == 0)


def test_unlike_frames_cost_next_to_nothing() -> None:
    frames = [blobs((24, 24, 24), f"unlike{i}").astype(np.float32) for i in range(4)]
    blob = compressed(frames, max_error=1e-3, support="off")
    alone = sum(len(compressed([f], max_error=1e-3, support="off")) for f in frames)
    assert len(blob) <= alone


def test_damage_ends_with_the_group() -> None:
    frames = drifting(GROUP + 2, (12, 12, 12))
    blob = compressed(frames, max_error=1e-3)
    whole = volcodec.decode(blob)
    bad = damaged(blob, 2)
    with pytest.warns(UserWarning, match="damaged"):
        again = volcodec.decode(bad, on_damage="fill")
    assert np.isnan(again[2]).all()
    for i in (0, 1, GROUP, GROUP + 1):
        assert np.array_equal(again[i], whole[i])
    with pytest.raises(volcodec.FormatError, match="tile 3: tile 2"):
        volcodec.decode(bad, frame=3)


def test_what_follows_must_say_how() -> None:
    from volcodec import models
    from volcodec.decoder import frame_settings
    from volcodec.tiledecoder import CONSTANT, RAW, TileDecoder

    frames = drifting(2, (8, 9, 10))
    blob = compressed(frames, max_error=1e-3)
    reader = Reader(blob)
    assert following(blob) == [1]
    coding, settings = reader.index[1].coding, frame_settings(reader.header)
    streams = reader.streams(1, 0, reader.header.streams)
    decoder = TileDecoder(models.load("density"))
    before = volcodec.decode(blob, frame=0)
    good = decoder.decode(coding, tuple(streams), (8, 9, 10), settings, before)
    assert np.array_equal(good, volcodec.decode(blob, frame=1))
    for head in (b"", b"\x01\x00\x00", b"\x00\x00\x00\x00", b"\x11\x00\x00\x00", b"\xff\0\0\0"):
        bad = (*streams[:2], head + streams[2][4:] if len(head) == 4 else head, *streams[3:])
        with pytest.raises(volcodec.FormatError):
            decoder.decode(coding, bad, (8, 9, 10), settings, before)
    for other in (CONSTANT, RAW):
        with pytest.raises(volcodec.FormatError):
            decoder.decode(other, tuple(streams), (8, 9, 10), settings, before)
    with pytest.raises(volcodec.FormatError, match="leave the range"):
        decoder.decode(coding, tuple(streams), (8, 9, 10), settings, before + np.float32(1e9))


@pytest.mark.parametrize("shift", [(0, 0, 0), (1, -2, 0), (2, 2, -1)])
def test_a_shift_is_found(shift: tuple[int, int, int]) -> None:
    before = random_of("shift").standard_normal((20, 23, 26))
    found, weight = motion.match(0.5 * motion.moved(before, shift), before)
    assert found == shift and weight == motion.WEIGHTS // 2
    assert motion.match(before, np.zeros_like(before))[1] == 0
    assert motion.match(-before, before)[1] == 0


def test_moved_repeats_the_border() -> None:
    a = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(motion.moved(a, (0, 0, 1))[..., 1:], a[..., :-1])
    assert np.array_equal(motion.moved(a, (0, 0, 1))[..., 0], a[..., 0])
    assert np.array_equal(motion.moved(a, (-127, 0, 0)), np.stack([a[1], a[1]]))


def test_tiles_wait_for_those_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a frame is one tile, threads reach the next while the one before is being coded."""
    frames = drifting(5, (10, 11, 12))
    slow = TileCoder.follow

    def follow(self: TileCoder, *given: Any) -> Any:
        time.sleep(0.05)
        return slow(self, *given)

    monkeypatch.setattr(TileCoder, "follow", follow)
    assert compressed(frames, max_error=1e-3, threads=4) == compressed(
        frames, max_error=1e-3, threads=1
    )


def test_a_failure_ends_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> None:
        raise volcodec.VolcodecError("no")

    monkeypatch.setattr(TileCoder, "follow", fail)
    with pytest.raises(volcodec.VolcodecError, match="no"):
        compressed(drifting(5, (10, 11, 12)), max_error=1e-3, threads=4)
