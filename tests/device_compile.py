"""Compiles every kernel of the device path for a GPU; prints how many. None has to be there.

Pointers and constants are told by their names, which are the same in all kernels.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import triton

from volcodec.device.kernels import contexts, encoding, looks, rans, restoration, transform

POINTERS = {
    "*i8": "",
    "*u8": "hides hidden masks own faces up_own up_faces log x maps coded slots keys",
    "*i16": "mag up_mag hints words signs",
    "*i32": "bits decoded integers shares raws predicted q weights expected skips told ends places "
    "kept down up symbols backs target r low values sizes positions lanes bounded pairs zeros "
    "next_turn turns hist rough bound bounds originals counts",
    "*i64": "limits offsets states",
    "*fp32": "w1 b1 w2 b2 w3 b3",
    "*fp64": "inverse given table",
    "fp32": "scale1 scale2 scale3",
}
TYPES = {name: kind for kind, names in POINTERS.items() for name in names.split()}
OUT = {"features": "*u8"}  # of the one argument whose type differs
SIZES = {"BLOCK": 128, "LANES": 32, "CODED": contexts.CODED, "ROWS": contexts.FEATURE_ROWS,
         "H1": 32, "H2": 16, "UNSIGNED": 16, "KIND": 2, "COUNT": 18, "OWN": 15, "FEATURES": 23,
         "BINS": 46}  # fmt: skip
FLAGS = ("VOTE", "PARENT", "EXPECTS", "HALVED", "LEARNED", "LIMITED", "PREDICTED", "OFFSETS",
         "FLOATS", "REAL", "LATTICE", "EXACT", "SNAPS", "BOUND", "HIDES",
         "X", "Y", "Z")  # fmt: skip


def kernels() -> list[Any]:
    """The kernels that are launched: those that know how many programs there are."""
    found = []
    for module in (contexts, encoding, looks, rans, restoration, transform):
        for name, value in vars(module).items():
            if isinstance(value, triton.JITFunction) and not name.startswith("_"):
                found.append(value)
    return found


def variants(names: list[str]) -> list[dict[str, int]]:
    """Constants: every flag set, none set, and for axes one and two of them."""
    flags = [n for n in names if n in FLAGS]
    sizes = {n: SIZES[n] for n in names if n in SIZES}
    chosen = [dict.fromkeys(flags, 1)]
    if "X" in flags:
        chosen += [{"X": 1, "Y": 0, "Z": 0}, {"X": 0, "Y": 1, "Z": 1}]
    elif flags:
        chosen.append(dict.fromkeys(flags, 0))
    return [{**sizes, **flag} for flag in chosen]


def compiled(kernel: Any, constants: dict[str, int]) -> None:
    """Compile a kernel for an H100 (compute capability 9.0)."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {}
    for name in kernel.arg_names:
        kind = TYPES.get(name, "i32")
        if name == "out":
            kind = OUT.get(kernel.__name__, "*i32")
        signature[name] = "constexpr" if name in constants else kind
    given: dict[str, Any] = {"constexprs": constants}
    if "constants" in inspect.signature(ASTSource.__init__).parameters:  # Triton 3.1
        signature = {n: kind for n, kind in signature.items() if kind != "constexpr"}
        given = {"constants": constants}
    warps = 1 if "LANES" in constants else 4
    source = ASTSource(fn=kernel, signature=signature, **given)
    triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})


def main() -> int:
    try:
        from triton.backends import backends

        if "nvidia" not in backends:
            raise ImportError
    except ImportError:
        print("no compiler for a GPU comes with this Triton")
        return 0
    count = 0
    for kernel in kernels():
        for constants in variants(kernel.arg_names):
            compiled(kernel, constants)
            count += 1
    print(count, "variants")
    return 0


if __name__ == "__main__":
    sys.exit(main())
