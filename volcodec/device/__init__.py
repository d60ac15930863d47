"""The device path: batches of tiles coded on a CUDA device, by Triton kernels and torch.

It gives the same symbols, values and bytes as the processor does. ``load`` finds Triton and torch,
which nothing else of the package imports for it; kernels also run on the processor by Triton's
interpreter (``TRITON_INTERPRET=1``), which is how they are tested where there is no GPU.
"""

from __future__ import annotations

from ..errors import InputError


def available() -> bool:
    """Whether Triton and torch are there."""
    try:
        require()
    except InputError:
        return False
    return True


def require() -> None:
    """InputError where Triton or torch is missing."""
    try:
        import torch  # noqa: F401
        import triton  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"coding on a CUDA device needs torch and triton ({error}): "
            "pip install 'volcodec[cuda]', or take device='cpu'"
        ) from None
