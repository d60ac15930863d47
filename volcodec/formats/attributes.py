"""Attributes of a dataset as JSON and back, exactly: numpy dtypes and shapes are kept.

Text, True/False, int and float stand for themselves. Anything of numpy becomes an object:
    {"dtype": "<f4", "shape": [2], "value": [1.5, "NaN"]}   numbers, flat in C order
    {"dtype": "str", "shape": [2], "value": ["a", "b"]}     text
    {"dtype": "|S3", "shape": [], "base64": "YWJj"}         bytes, complex and wide floats
    {"dtype": "<f4", "shape": null}                         HDF5's empty attribute
A shape of [] means a scalar, whose value stands without a list.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any

import numpy as np

from volcodec.errors import FormatError

_DTYPE = re.compile(r"[<>|](?:[iu][1248]|f(?:[248]|1[26])|b1|c(?:8|16|32)|S[0-9]{1,9})")


class Empty:
    """An attribute that has a dtype and no value."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype


def pack(value: Any) -> Any:
    """Return `value` (str, bytes, number, numpy scalar or array, Empty) as JSON-able.

    Raises TypeError for what has no portable meaning: objects, references, records.
    """
    if isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic):
        return _number(value) if isinstance(value, float) else value
    if isinstance(value, Empty):
        return {"dtype": _checked(value.dtype).str, "shape": None}
    array = np.asarray(value)
    shape = list(array.shape)
    if array.dtype.kind in "OU":
        texts = array.ravel().tolist()
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("only text can be kept of an array of objects")
        return {"dtype": "str", "shape": shape, "value": texts if shape else texts[0]}
    name = _checked(array.dtype).str
    if array.dtype.kind in "iub" or array.dtype in ("f2", "f4", "f8"):
        numbers = [_number(number) for number in array.ravel().tolist()]
        return {"dtype": name, "shape": shape, "value": numbers if shape else numbers[0]}
    return {"dtype": name, "shape": shape, "base64": base64.b64encode(array.tobytes()).decode()}


def unpack(value: Any) -> Any:
    """Return what `pack` was given; lists and plain values of other makers pass through.

    Raises FormatError where a tagged value contradicts itself.
    """
    if not isinstance(value, dict):
        return value
    try:
        return _unpack(value)
    except (KeyError, TypeError, ValueError, OverflowError, binascii.Error) as error:
        raise FormatError(f"an attribute of the dataset is malformed: {error}") from error


def unpack_all(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as they were before they became JSON; those without a value are left out.

    Raises FormatError as `unpack` does.
    """
    found = {
        name: unpack(value)
        if isinstance(value, dict) and {"dtype", "shape"} <= value.keys()
        else value
        for name, value in attrs.items()
    }
    return {name: value for name, value in found.items() if not isinstance(value, Empty)}


def _unpack(value: dict[str, Any]) -> Any:
    name, shape = value["dtype"], value["shape"]
    if shape is None:
        return Empty(_named(name))
    if any(not isinstance(n, int) or n < 0 for n in shape) or len(shape) > 32:
        raise ValueError("its shape is not a list of lengths")
    if "base64" in value:
        raw = base64.b64decode(value["base64"], validate=True)
        array = np.frombuffer(raw, _named(name)).reshape(shape)
        return array.copy() if shape else array[()]
    flat = value["value"] if shape else [value["value"]]
    if not isinstance(flat, list) or len(flat) != math.prod(shape):
        raise ValueError("its shape and its values disagree")
    if name == "str":
        if not all(isinstance(text, str) for text in flat):
            raise ValueError("not all of its values are text")
        return np.array(flat, object).reshape(shape) if shape else flat[0]
    numbers = [float(number) if isinstance(number, str) else number for number in flat]
    dtype = _named(name)
    if dtype.kind in "iu" and numbers:  # NumPy 1 would wrap them
        limits = np.iinfo(dtype)
        if not limits.min <= min(numbers) <= max(numbers) <= limits.max:
            raise ValueError("its values do not fit its dtype")
    array = np.array(numbers, dtype).reshape(shape)
    return array if shape else array[()]


def _number(value: float | bool) -> Any:
    """JSON has no NaN and no infinity: they are written as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _checked(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if not _DTYPE.fullmatch(dtype.str):
        raise TypeError(f"{dtype} can't be kept")
    return dtype


def _named(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise ValueError("its dtype is not one that attributes have")
    return np.dtype(name)
