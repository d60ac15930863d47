"""How the inner loops are compiled.

A ``kernel`` only reads and writes arrays that are given to it: no array may be made in it, and in
return none is counted, which costs more than the work where views of rows are taken. Divisors are
never zero: the caller sees to it.
"""

from __future__ import annotations

import os
import sys
from functools import partial

import numba
from numba.core import config

_BLAS = "scipy.linalg.cython_blas"  # where Numba looks for it
kernel = partial(numba.njit, cache=True, nogil=True, error_model="numpy", _nrt=False)
inlined = partial(kernel, inline="always")


def begin() -> None:
    """Let Numba begin quickly, for a process that runs no functions but our own.

    Without SciPy: where it is installed, Numba looks in it for BLAS as its first function is
    called, which takes a fifth of a second; no kernel multiplies matrices. And with little
    optimisation (unless NUMBA_OPT says how much) of what isn't compiled yet, which is then kept for
    all: loops that matter are vectors already, so that more takes a quarter longer and gives
    nothing.
    """
    if "NUMBA_OPT" not in os.environ:
        config.OPT = type(config.OPT)(1)
    if _BLAS not in sys.modules:
        sys.modules[_BLAS] = None  # type: ignore[assignment]
        try:
            import numba.np.arraymath  # noqa: F401
        finally:
            del sys.modules[_BLAS]
