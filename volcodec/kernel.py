"""How the inner loops are compiled.

A ``kernel`` only reads and writes arrays that are given to it: no array may be made in it, and in
return none is counted, which costs more than the work where views of rows are taken. Divisors are
never zero: the caller sees to it.
"""

from __future__ import annotations

from functools import partial

import numba

kernel = partial(numba.njit, cache=True, nogil=True, error_model="numpy", _nrt=False)
inlined = partial(kernel, inline="always")
