"""The errors volcodec raises; every one derives from VolcodecError."""

from __future__ import annotations


class VolcodecError(Exception):
    """Base of all errors raised on purpose by volcodec."""


class FormatError(VolcodecError):
    """What was read is not a valid .vc file: damaged, truncated, too new or hostile."""


class ModelError(VolcodecError):
    """The model a file needs is missing, damaged, or not the one that wrote it."""


class InputError(VolcodecError):
    """The volume or the target can't be honoured; the message says why and what would help."""
