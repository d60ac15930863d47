"""How Numba begins."""

from __future__ import annotations

import os
import subprocess
import sys

_BEGUN = """
import sys
from volcodec.kernel import begin
begin()
import volcodec.quantiser
assert "scipy.linalg" not in sys.modules
assert "scipy.linalg.cython_blas" not in sys.modules
import numba
assert numba.config.OPT == 1
import numpy as np
print(volcodec.quantiser.activity(np.ones((1, 1, 1), np.int32), 1))
begin()
try:
    import scipy.linalg.cython_blas
except ImportError as error:
    assert "scipy" in str(error) and "None" not in str(error), error
"""


def test_it_begins_without_scipy_and_leaves_it_as_it_was() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_OPT"}
    done = subprocess.run(
        [sys.executable, "-c", _BEGUN],
        capture_output=True, text=True, timeout=120, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 0.5
