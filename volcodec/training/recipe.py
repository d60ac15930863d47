"""What a run of training is asked to do: every choice in one place, and the defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import InputError

ARCHITECTURES = ("pyramid", "unet")
OPTIMISERS = ("adamw", "sgd", "rmsprop", "velo")
SCHEDULES = ("cosine", "plateau", "constant")
TERMS = ("mse", "frobenius", "segmentation")
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}


@dataclass(frozen=True)
class Recipe:
    """The choices of a run.

    Attributes:
        arch: which architecture, a key of :data:`volcodec.training.architectures.REGISTRY`.
        dims: 3 for volumes, 2 for their slices (unet only).
        start: name or path of a model to go on from, empty for random weights.
        budget: seconds of the whole run, everything counted.
        steps: of the optimiser in each stage; 0 for as many as the budget holds.
        seed: of weights, split, patches and noise.
        batch: items a step on each device; for the pyramid, samples a network.
        patch: edge in voxels of what the unet is trained on, divisible by 16.
        first_2d: share of the unet's budget spent on slices before it is inflated to volumes.
        width, latents, hyper: channels of the unet: C, M and N of :class:`.unet.UNet`.
        classical: whether the unet starts as a block transform and not from random weights.
        rate: whether the unet has a bottleneck of limited rate; False makes it a plain
            autoencoder, which needs no CompressAI and is for studies: it can't become a codec.
        lambdas: range of the trade-off between rate (bits per voxel) and distortion.
        terms, weights: of the distortion; weights belong to mse, frobenius and segmentation.
        balance: whether the weights are shares of the gradient (see :class:`.losses.Balancer`).
        frobenius, frobenius_of, per_voxel, segmentation: see :mod:`.losses`.
        optimiser, lr, betas, momentum, weight_decay: `momentum` is that of SGD and RMSprop.
        velo: folder of the weights of the learned optimiser.
        schedule, warmup: of the learning rate; `warmup` in steps.
        clip: largest norm of the gradient, 0 for none.
        ema: decay of the averaged weights that are validated and kept, 0 for none.
        guard: whether exploding steps are skipped and exploding losses rolled back.
        patience: validations without a new best after which a stage ends, 0 for never.
        validations: of each stage, spread evenly; the one before the first step is not counted.
        crops: of each bank of the pyramid to gather samples from; 0 for what the time allows.
        synthetic: share of the pyramid's crops that are random fields; -1 for a default: some
            for a model from random weights, none for one that is gone on from.
        hidden: units in the layers of the pyramid's networks, even; a model that is gone on from
            is widened where it has fewer, and coding slows down in proportion.
        predictor: whether the pyramid has a network that predicts voxels.
        look_every: steps between two looks at gradients, updates and moments.
        curvature: whether looks measure how near the optimiser is to instability (slow).
        checkpoint_seconds: between two checkpoints, at most, and the length of a step.
        device, precision, devices, nodes: as Lightning Fabric understands them.
    """

    arch: str = "pyramid"
    dims: int = 3
    start: str = ""
    budget: float = 1800.0
    steps: int = 0
    seed: int = 1
    batch: int = 4
    patch: int = 64
    first_2d: float = 0.0
    width: int = 32
    latents: int = 64
    hyper: int = 16
    classical: bool = True
    rate: bool = True
    lambdas: tuple[float, float] = (100.0, 30000.0)
    terms: tuple[str, ...] = TERMS
    weights: tuple[float, float, float] = (1.0, 0.05, 0.0005)
    balance: bool = False
    frobenius: str = "squared"
    frobenius_of: str = "error"
    per_voxel: bool = True
    segmentation: str = "dice"
    optimiser: str = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.9
    weight_decay: float = 1e-4
    velo: str = ""
    schedule: str = "cosine"
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.0
    guard: bool = True
    patience: int = 0
    validations: int = 20
    crops: int = 0
    synthetic: float = -1.0
    hidden: tuple[int, int] = (32, 16)
    predictor: bool = True
    look_every: int = 50
    curvature: bool = False
    checkpoint_seconds: float = 45.0
    device: str = "auto"
    precision: str = "32"
    devices: int = 1
    nodes: int = 1

    def __post_init__(self) -> None:
        """Raise InputError where the choices can't be followed."""
        _one_of("architecture", self.arch, ARCHITECTURES)
        _one_of("optimiser", self.optimiser, OPTIMISERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("precision", self.precision, tuple(PRECISIONS))
        for term in self.terms:
            _one_of("term", term, TERMS)
        if not self.terms or len(set(self.terms)) < len(self.terms):
            raise InputError(f"terms are one to three of {', '.join(TERMS)}, each once")
        if self.dims not in (2, 3):
            raise InputError(f"dims is 2 or 3, not {self.dims}")
        if self.arch == "pyramid" and (self.dims == 2 or self.first_2d):
            raise InputError(
                "the pyramid has no 2-D form: it is trained on volumes and slices alike"
            )
        if self.arch == "pyramid" and self.precision != "32":
            raise InputError("the pyramid's networks are trained with --precision 32")
        if self.patch < 16 or self.patch % 16:
            raise InputError(f"the patch is {self.patch}: its edge must be divisible by 16")
        if self.budget <= 0 or self.steps < 0 or self.batch < 1 or self.validations < 1:
            raise InputError("budget, steps, batch and validations must be positive")
        if not 0 <= self.ema < 1 or not 0 <= self.first_2d < 1:
            raise InputError("ema and first-2d lie between 0 and 1")
        if self.lr <= 0 or self.clip < 0 or self.weight_decay < 0 or self.warmup < 0:
            raise InputError("lr must be positive; clip, weight decay and warm-up not negative")
        if any(not 0 <= beta < 1 for beta in self.betas):
            raise InputError("betas lie between 0 and 1, 1 excluded")
        if any(n % 2 or not 2 <= n <= 256 for n in self.hidden):
            raise InputError("hidden units are even numbers from 2 to 256")
        if not 0 < self.lambdas[0] <= self.lambdas[1]:
            raise InputError("lambdas are positive, the smaller one first")

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Recipe:
        """The recipe of :meth:`record`; fields that are not known are left out."""
        known = {f.name for f in fields(cls)}
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in record.items()
        }
        return cls(**{k: v for k, v in given.items() if k in known})

    def changed(self, other: Recipe) -> list[str]:
        """What differs in ``other`` and would make it another run; more budget does not."""
        free = ("budget", "steps", "validations", "device", "devices", "nodes", "look_every",
                "checkpoint_seconds")  # fmt: skip
        mine, theirs = self.record(), other.record()
        return [
            f"{name} {mine[name]!r}, now {theirs[name]!r}"
            for name in mine
            if mine[name] != theirs[name] and name not in free
        ]


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise InputError(f"there is no {what} {given!r}: choose from {', '.join(known)}")


# What an architecture does best with; `Recipe` has the values they share.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "pyramid": {"lr": 4e-3, "batch": 512, "clip": 1.0, "validations": 16},
    "unet": {"lr": 1e-3, "clip": 0.5, "ema": 0.998, "validations": 30, "batch": 8, "patch": 32},
}
# Factors on the learning rate of AdamW, which the other optimisers understand differently.
_RATES = {"adamw": 1.0, "rmsprop": 0.5, "sgd": 20.0}

# The recipe that this project began with, and whose validation error rose after it had fallen.
ORIGINAL: dict[str, Any] = {
    "optimiser": "adamw",
    "lr": 2e-4,
    "betas": (0.5, 0.999),
    "weight_decay": 0.01,
    "schedule": "constant",
    "warmup": 0,
    "clip": 0.0,
    "ema": 0.0,
    "terms": TERMS,
    "weights": (1.0, 1.0, 1.0),
    "balance": False,
    "frobenius": "norm",
    "per_voxel": False,
    "guard": False,
    "patience": 0,
    "classical": False,
}


def recipe_for(arch: str, original: bool = False, **given: Any) -> Recipe:
    """The recipe of an architecture with what was ``given`` (None: not given) changed.

    Raises InputError where an option or a combination of them means nothing.
    """
    _one_of("architecture", arch, ARCHITECTURES)
    given = {name: value for name, value in given.items() if value is not None}
    chosen: dict[str, Any] = {"arch": arch, **_DEFAULTS[arch]}
    optimiser = given.get("optimiser", "adamw")
    if optimiser == "velo":  # it finds its own rate and wants its gradients as they are
        chosen.update(lr=1.0, clip=0.0, warmup=0, schedule="constant", weight_decay=0.0)
    else:
        chosen["lr"] *= _RATES.get(optimiser, 1.0)
    if arch == "pyramid" and given.get("start"):
        chosen["lr"] *= 0.25  # less is to be unlearned
    if original:
        chosen.update(ORIGINAL)
    if given.get("dims") == 2:
        chosen.update(batch=16, patch=96)
    return replace(Recipe(), **{**chosen, **given})
