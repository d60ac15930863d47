"""The codec: volumes to bytes and back, in memory."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from . import models
from .assembly import to_bytes
from .container.header import MAX_ATTRS
from .decoder import Progress, VolumeDecoder
from .encoder import VolumeEncoder
from .errors import FormatError, InputError
from .inspection import open_reader
from .request import Options
from .targets import Target, target
from .tiles import ArraySource, whole_number

DEFAULT_MODEL = "density"


def host(volume: Any) -> tuple[np.ndarray, Any]:
    """The numpy array of an array or a torch tensor, and the tensor's device (None: numpy)."""
    if isinstance(volume, np.ndarray):
        return volume, None
    if type(volume).__module__.split(".")[0] == "torch":
        tensor = volume.detach()
        if str(tensor.dtype) == "torch.bfloat16":
            raise InputError("volumes of dtype bfloat16 are not supported: convert to float32")
        return tensor.cpu().numpy(), tensor.device
    return np.asarray(volume), None


def check_device(device: Any) -> str:
    """``auto``, ``cpu`` or ``cuda``; InputError where there is no CUDA device."""
    name = str(device).split(":")[0]
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device is auto, cpu or cuda, not {device!r}")
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("there is no CUDA device here: the device must be auto or cpu")
    return name


def options(
    *,
    support: str = "auto",
    background: float = 0.0,
    effort: int = 5,
    fast: bool = False,
    tile: int | None = None,
    threads: int | None = None,
    attrs: dict[str, Any] | None = None,
    dataset: str | None = None,
    embed_model: bool = False,
) -> Options:
    """Checked encoder options; InputError says what is wrong."""
    effort = 1 if fast else whole_number(effort, "effort")
    if not 1 <= effort <= 9:
        raise InputError(f"effort goes from 1 to 9, not {effort}")
    if tile is not None:
        tile = whole_number(tile, "tile")
    if threads is not None:
        threads = whole_number(threads, "threads")
    try:
        ground = float(background)
    except (TypeError, ValueError):
        raise InputError(f"the background must be a number, not {background!r}") from None
    _check_attrs(attrs)
    name = dataset or ""
    return Options(support, ground, effort, tile, threads, attrs or {}, name, embed_model)


def _check_attrs(attrs: dict[str, Any] | None) -> None:
    if attrs is None:
        return
    if not isinstance(attrs, dict):
        raise InputError(f"attrs must be a dict, not {attrs!r}")
    try:
        size = len(json.dumps(attrs, separators=(",", ":")))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"attrs must be what JSON can hold ({error}): use .tolist()") from None
    if size > MAX_ATTRS:
        raise InputError(
            f"the volume's attributes take {size:,} bytes, a .vc file holds at most "
            f"{MAX_ATTRS:,}: remove the largest, or give fewer with attrs=... in Python"
        )


class Codec:
    """Encodes and decodes volumes with one model.

    Args:
        model: a shipped model's name, a path, or a loaded model.
        device: "auto", "cpu" or "cuda": where ``decode`` works and leaves its result. "auto" is the
            processor, unless ``out`` is a CUDA tensor.
        threads: how many threads code tiles (default: all cores).

    A codec holds no state that encoding changes: it may be used from several threads and after
    a fork. Raises ModelError where the model is not at hand.
    """

    def __init__(
        self, model: Any = DEFAULT_MODEL, *, device: str = "auto", threads: int | None = None
    ) -> None:
        self.model = model if isinstance(model, models.Model) else models.load(model)
        self.device = check_device(device)
        self.threads = threads

    def encode(
        self,
        volume: Any,
        *,
        max_error: float | None = None,
        rel_error: float | None = None,
        psnr: float | None = None,
        ratio: float | None = None,
        bits: float | None = None,
        lossless: bool = False,
        support: str = "auto",
        background: float = 0.0,
        effort: int = 5,
        fast: bool = False,
        tile: int | None = None,
        threads: int | None = None,
        attrs: dict[str, Any] | None = None,
        dataset: str | None = None,
        embed_model: bool = False,
        progress: Progress | None = None,
    ) -> bytes:
        """Compress a volume: numpy array or torch tensor, (Z, Y, X) or (Y, X), any strides.

        A tensor on a CUDA device is coded there at efforts 1 and 2 under a bound or without loss,
        where Triton is at hand; else it is copied to the host. The bytes are the same.

        One target: ``max_error`` (units of the data), ``rel_error`` (share of max - min),
        ``psnr`` (dB), ``ratio`` (raw bytes / file bytes), ``bits`` (per voxel) or ``lossless``;
        by default ``rel_error=1e-3``. The result is decoded and checked before it is returned.
        InputError where the volume or the target can't be honoured.

        Args:
            support: "exact" keeps the voxels that are exactly ``background``, and no others;
                "auto" does where it costs at most 5 % of the file, "off" never.
            background: the value that ``support`` keeps, one that the dtype can hold.
            effort: 1 to 9; up to 2 one way of coding is taken, from 7 on all are tried on whole
                tiles, between them on two parts of a large one; 8 and 9 learn from the tile, which
                takes 2 µs a voxel, decoding too.
            fast: the same as ``effort=1``.
            tile: edge of a tile in voxels, 1 to 1024; by default about 128, at efforts 8 and 9
                about 256.
            threads: how many code tiles; by default as for the codec.
            attrs: what JSON can hold, kept with the volume: at most 1 MiB.
            dataset: what the volume is called.
            embed_model: store the model in the file, so that it needs no other to be read.
            progress: called with (tiles done, of how many, stage).
        """
        asked = target(
            max_error=max_error, rel_error=rel_error, psnr=psnr, ratio=ratio, bits=bits,
            lossless=lossless,
        )  # fmt: skip
        chosen = options(
            support=support, background=background, effort=effort, fast=fast, tile=tile,
            threads=threads if threads is not None else self.threads, attrs=attrs,
            dataset=dataset, embed_model=embed_model,
        )  # fmt: skip
        encoder = self._encoder(volume, asked, chosen, progress)
        header, tiles = encoder.encode()
        return to_bytes(header, tiles, self.model)

    def _encoder(
        self, volume: Any, asked: Target, chosen: Options, progress: Progress | None
    ) -> VolumeEncoder:
        """Where the volume lies on a CUDA device and is asked for in a way it can be coded there,
        there; else on the processor."""
        if _on_device(volume) and self.device != "cpu":
            from .device import available

            if available():
                from .device.encoder import DeviceEncoder, suits

                if suits(asked, chosen):
                    return DeviceEncoder(volume, self.model, asked, chosen, progress)
        array, _ = host(volume)
        return VolumeEncoder([ArraySource(array)], self.model, asked, chosen, progress)

    def decode(self, blob: Any, **options: Any) -> Any:
        """Decompress; see ``volcodec.decode``. This codec's model is tried first."""
        options.setdefault("model", self.model)
        options.setdefault("threads", self.threads)
        options.setdefault("device", self.device)
        return decode(blob, **options)


def encode(volume: Any, *, model: Any = DEFAULT_MODEL, **options: Any) -> bytes:
    """``Codec(model).encode(volume, **options)``."""
    return Codec(model).encode(volume, **options)


def decode(
    blob: Any,
    *,
    region: Any = None,
    level: int = 0,
    frame: int | None = None,
    model: Any = None,
    device: str = "auto",
    threads: int | None = None,
    out: Any = None,
    on_damage: str = "raise",
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> Any:
    """Decompress a .vc (bytes, path, URL, seekable binary file, what has ``read_at``) to an array.

    Args:
        region: slices in the voxels of ``level``; only the tiles they touch are read.
        level: 0 for the volume, K for a preview of shape ceil(n / 2**K).
        frame: one frame of a series; by default all, along a first axis where there are several.
        model: where to look for the model first (name or path); it is found from the file.
        device: "cuda" decodes on that device, to the same values; see docs/performance.md for what
            is left to the processor. InputError where there is no CUDA device, or no Triton.
        out: an array of the result's shape and dtype to write to, or a tensor, on the CUDA device
            too.
        on_damage: "raise" FormatError at the first damaged tile, or "fill" it with NaN (integers:
            the background); the damaged tiles are then warned of by number.
        max_bytes: refuse to make an array larger than this.

    Returns an array of the dtype (byte order too) and shape that was encoded; with
    device="cuda" a tensor on that device; with ``out``, that. FormatError where the bytes are not
    valid, ModelError where the model is not at hand, InputError for impossible options.
    """
    place = _place(check_device(device), device, out)
    if on_damage not in ("raise", "fill"):
        raise InputError(f"on_damage is raise or fill, not {on_damage!r}")
    with open_reader(blob) as reader:
        decoder = VolumeDecoder(reader, model, threads)
        level = whole_number(level, "level")
        frames = decoder.frame_of(frame)
        where = decoder.region(region, level)
        shape = decoder.user_shape(tuple(s.stop - s.start for s in where))
        if frame is None and len(frames) > 1:
            shape = (len(frames), *shape)
        by_frame = (len(frames), *(s.stop - s.start for s in where))
        how = (decoder, frames, where, level, on_damage, progress)
        if place is None:
            result, damaged = _onto_host(*how, shape, by_frame, out, max_bytes)
        else:
            result, damaged = _onto_device(*how, shape, by_frame, out, max_bytes, place)
    if damaged:
        import warnings

        warnings.warn(f"damaged tiles were filled: {damaged}", stacklevel=2)
    return result if out is None else out


def _onto_host(
    decoder: VolumeDecoder, frames: list[int], where: Any, level: int, on_damage: str,
    progress: Progress | None, shape: tuple[int, ...], by_frame: tuple[int, ...], out: Any,
    max_bytes: int | None,
) -> tuple[np.ndarray, list[int]]:  # fmt: skip
    """The array and the damaged tiles."""
    result = _room(shape, decoder.dtype, _as_array(out), max_bytes)
    parts = result.reshape(by_frame)
    damaged = decoder.fill(parts, frames, where, level, on_damage, progress)
    if result.size and not np.may_share_memory(parts, result):
        result[...] = parts.reshape(result.shape)
    return result, damaged


def _onto_device(
    decoder: VolumeDecoder, frames: list[int], where: Any, level: int, on_damage: str,
    progress: Progress | None, shape: tuple[int, ...], by_frame: tuple[int, ...], out: Any,
    max_bytes: int | None, place: Any,
) -> tuple[Any, list[int]]:  # fmt: skip
    """The tensor and the damaged tiles; an ``out`` on the host becomes a copy of the tensor."""
    from .device.decoder import DeviceDecoder
    from .device.values import room

    on_host = out is not None and not _on_device(out)
    copy = _room(shape, decoder.dtype, _as_array(out), max_bytes) if on_host else None
    native = decoder.settings.mapping.dtype
    result = room(shape, native, None if on_host else out, max_bytes, place)
    parts = result.reshape(by_frame)
    damaged = DeviceDecoder(decoder, place).fill(parts, frames, where, level, on_damage, progress)
    if parts.data_ptr() != result.data_ptr():
        result.copy_(parts.view(shape))
    if copy is not None:
        copy[...] = result.cpu().numpy()
    return result, damaged


def _on_device(array: Any) -> bool:
    """Whether something is a tensor on a CUDA device."""
    return bool(getattr(array, "is_cuda", False))


def _place(name: str, device: Any, out: Any) -> Any:
    """The torch device to decode on, None for the processor."""
    on_device = _on_device(out)
    if name == "cpu" or (name == "auto" and not on_device):
        if on_device:
            raise InputError("out is a CUDA tensor: the device must be auto or cuda")
        return None
    from .device import require

    require()
    import torch

    found = out.device if on_device else torch.device(device)
    if found.type == "cuda" and found.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return found


def _as_array(out: Any) -> Any:
    """The numpy array that shares the memory of a tensor; anything else as it is."""
    if out is None or type(out).__module__.split(".")[0] != "torch":
        return out
    if out.requires_grad:
        raise InputError("out must be a tensor without gradient")
    return out.numpy()


def _room(
    shape: tuple[int, ...], dtype: np.dtype[Any], out: np.ndarray | None, max_bytes: int | None
) -> np.ndarray:
    """The array to decode to: ``out``, checked, or a new one of at most ``max_bytes``."""
    size = int(np.prod([float(n) for n in shape])) * dtype.itemsize
    if max_bytes is not None and size > max_bytes:
        raise FormatError(f"the result takes {size} bytes, more than max_bytes={max_bytes}")
    if out is None:
        try:
            return np.empty(shape, dtype)
        except (MemoryError, ValueError):
            raise FormatError(f"the volume takes {size} bytes, more than there is memory") from None
    if not isinstance(out, np.ndarray) or not out.flags.writeable:
        raise InputError("out must be a numpy array that can be written to")
    if out.shape != shape or out.dtype != dtype:
        raise InputError(f"out must be {dtype} {shape}, not {out.dtype} {out.shape}")
    return out
