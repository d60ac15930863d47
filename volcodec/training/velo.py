"""VeLO, an optimiser that was itself learned (Metz et al., arXiv 2211.09760), by way of PyLO.

PyLO (github.com/Belilovsky-Lab/pylo) is its port to PyTorch. This adapter takes weights from a
folder and loads nothing from the network; hands the port views of the parameters with at most four
axes (its features are one-hot in the number of axes, up to four, and 3-D kernels have five); and
tells it the loss and the number of steps, which VeLO plans with.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError

MOST_AXES = 4
_PARTS = ("rnn", "mlp")
_HOW = (
    "the port: python -m pip install git+https://github.com/Belilovsky-Lab/pylo (the package "
    "that installs under the plain name pylo is an unrelated microscope tool); the weights: "
    "--velo FOLDER, in which FOLDER/rnn and FOLDER/mlp hold config.json and model.safetensors of "
    "VeLO_RNN and VeLO_MLP, which PyLO's authors keep on the Hugging Face hub"
)


def find_port() -> Any:
    """PyLO's class of VeLO; InputError, saying how to get it, where it is not installed."""
    try:
        return import_module("pylo.optim").VeLO
    except (ImportError, AttributeError):
        raise InputError(f"the optimiser velo needs its port and its weights; {_HOW}") from None


def find_weights(folder: str) -> dict[str, str]:
    """The folders of both parts of the weights; InputError where one is missing."""
    if not folder:
        raise InputError(f"the optimiser velo needs its weights; {_HOW}")
    found = {part: Path(folder) / part for part in _PARTS}
    for part in found.values():
        if not (part / "model.safetensors").is_file():
            raise InputError(f"{part} holds no model.safetensors; {_HOW}")
    return {part: str(path.resolve()) for part, path in found.items()}


def few_axes(shape: torch.Size) -> list[int]:
    """A shape with at most four axes: the last ones are merged."""
    if len(shape) <= MOST_AXES:
        return list(shape)
    return [*shape[: MOST_AXES - 1], int(torch.tensor(shape[MOST_AXES - 1 :]).prod())]


class Velo(torch.optim.Optimizer):
    """VeLO over parameters of any number of axes.

    Args:
        params: to optimise.
        weights: folder of VeLO's own weights.
        steps: how many there will be.
        lr: a factor on its steps, 1 for VeLO as it was learned.
        weight_decay: of the port.
        port: the class of the port; None looks for PyLO's.

    Set ``loss`` before each step. Raises InputError where port or weights are not at hand.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], weights: str, steps: int, lr: float = 1.0,
        weight_decay: float = 0.0, port: Any = None,
    ) -> None:  # fmt: skip
        self.real = list(params)
        super().__init__(self.real, {"lr": lr})
        self.views = [nn.Parameter(p.detach().reshape(few_axes(p.shape))) for p in self.real]
        port = port or find_port()
        keys = find_weights(weights)
        self.loss: Tensor | None = None
        self._settings = {
            "lr": lr, "num_steps": max(1, steps), "weight_decay": weight_decay,
            "hf_key_rnn": keys["rnn"], "hf_key_mlp": keys["mlp"],
        }  # fmt: skip
        self._class = port
        self.port = port(self.views, **self._settings)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step with the gradients of the parameters and ``loss``."""
        if self.loss is None:
            raise RuntimeError("VeLO has to be told the loss before a step")
        for real, view in zip(self.real, self.views, strict=True):
            view.copy_(real.reshape(view.shape))  # they may have been loaded anew
            grad = torch.zeros_like(real) if real.grad is None else real.grad
            view.grad = grad.reshape(view.shape)
        for group in self.port.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        self.port.step(self.loss)
        for real, view in zip(self.real, self.views, strict=True):
            real.copy_(view.reshape(real.shape))
            view.grad = None
        self.loss = None

    def restart(self) -> None:
        """Forget what was learned of the gradients so far."""
        self.port = self._class(self.views, **self._settings)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"port": self.port.state_dict(), "lr": self.param_groups[0]["lr"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.param_groups[0]["lr"] = state_dict["lr"]
        self.port.load_state_dict(dict(state_dict["port"]))
