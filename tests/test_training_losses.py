"""The terms of the composite loss: values, gradients near zero error, weights, ablations."""

from __future__ import annotations

import math

import pytest
import torch
from training_cases import small

from volcodec.errors import InputError
from volcodec.training import losses

SHAPE = (2, 1, 6, 5, 4)


def _pair(error: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(SHAPE, generator=generator)
    e = torch.randn(SHAPE, generator=generator)
    return (x + error * e).requires_grad_(), x


def _slope(term: torch.Tensor, x_hat: torch.Tensor) -> float:
    (gradient,) = torch.autograd.grad(term[0], x_hat)
    return float(gradient.norm())


def test_values() -> None:
    x_hat, x = _pair(0.1)
    e = (x_hat - x)[0].detach()
    n = e.numel()
    assert losses.mse(x_hat, x).shape == (2,)
    assert losses.mse(x_hat, x)[0].item() == pytest.approx(float(e.square().mean()), rel=1e-5)
    norm = losses.frobenius(x_hat, x, "norm", per_voxel=False)[0]
    assert norm.item() == pytest.approx(float(e.norm()), rel=1e-5)
    squared = losses.frobenius(x_hat, x, "squared")[0]
    assert squared.item() == pytest.approx(float(e.square().sum()) / n, rel=1e-5)
    own = losses.frobenius(x_hat, x, "norm", of="density", per_voxel=False)[0]
    assert own.item() == pytest.approx(x_hat[0].norm().item(), rel=1e-5)


def test_gradients_near_zero_error() -> None:
    far, near = 1e-1, 1e-5
    slopes = {}
    for error in (far, near):
        x_hat, x = _pair(error)
        slopes[error] = {
            "mse": _slope(losses.mse(x_hat, x), x_hat),
            **{
                form: _slope(losses.frobenius(x_hat, x, form, per_voxel=False), x_hat)
                for form in losses.FROBENIUS_FORMS
            },
            "density": _slope(losses.frobenius(x_hat, x, "norm", "density", False), x_hat),
        }
    assert slopes[near]["norm"] == pytest.approx(1, abs=1e-3)  # as large as far from the goal
    assert slopes[far]["norm"] == pytest.approx(1, abs=1e-3)
    assert slopes[near]["density"] == pytest.approx(1, abs=1e-3)
    for vanishing in ("mse", "squared"):
        ratio = slopes[near][vanishing] / slopes[far][vanishing]
        assert ratio == pytest.approx(near / far, rel=0.05)
    assert slopes[near]["smooth"] < 0.2 < 0.99 < slopes[far]["smooth"]


@pytest.mark.parametrize("form", losses.FROBENIUS_FORMS)
def test_no_error_at_all(form: str) -> None:
    x = torch.rand(SHAPE)
    x_hat = x.clone().requires_grad_()
    term = losses.frobenius(x_hat, x, form)
    assert float(term.detach().sum()) == 0
    assert _slope(term, x_hat) == 0


@pytest.mark.parametrize("form", losses.SEGMENTATION_FORMS)
def test_support(form: str) -> None:
    x = torch.zeros(2, 1, 8, 8)
    x[:, :, 2:6, 2:6] = 0.7
    zero = torch.zeros(2)
    good = losses.support_overlap(x, x, zero, form)
    bad = losses.support_overlap(1 - x, x, zero, form)
    assert good.shape == (2,) and float(good[0]) < 0.2 < float(bad[0])
    x_hat = x.clone().requires_grad_()
    term = losses.support_overlap(x_hat, x, zero, form)
    assert _slope(term, x_hat) > 1e-6  # it never settles: see the docstring
    empty = torch.zeros(1, 1, 8, 8)
    assert float(losses.support_overlap(empty - 1, empty, zero[:1], form)) < 1e-3
    assert torch.equal(losses.support_iou(x, x, zero), torch.ones(2))
    assert float(losses.support_iou(1 - x, x, zero)[0]) < 0.5
    # the density's zero need not be the least value
    assert torch.equal(losses.support_iou(x + 0.2, x + 0.2, zero + 0.2), torch.ones(2))


def test_rate_is_in_bits_per_voxel() -> None:
    likelihoods = {"y": torch.full((2, 3, 4), 0.5), "z": torch.full((2, 2), 0.25)}
    assert losses.rate(likelihoods, 16).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "terms", [("mse",), ("mse", "frobenius"), ("mse", "frobenius", "segmentation")]
)
def test_ablations_sum_to_the_total(terms: tuple[str, ...]) -> None:
    x_hat, x = _pair(0.1)
    batch = {"x": x, "lam": torch.tensor([100.0, 900.0]), "zero": torch.zeros(2)}
    likelihoods = {"y": torch.full((2, 3), 0.5)}
    loss = losses.Composite(small(terms=terms, lambdas=(100.0, 900.0)))
    found = loss({"x_hat": x_hat, "likelihoods": likelihoods}, batch)
    parts = {name[5:]: part for name, part in found.items() if name.startswith("part/")}
    assert set(parts) == {"rate", *terms}
    assert float(found["total"]) == pytest.approx(sum(float(p) for p in parts.values()), rel=1e-5)
    # lambda and its balance over the range: sqrt(300 lam) times the error of each item
    each = losses.mse(x_hat, x)
    wanted = (each * (300 * batch["lam"]).sqrt()).mean()
    assert float(parts["mse"]) == pytest.approx(float(wanted), rel=1e-4)


def test_balanced_terms_have_the_gradients_they_are_given() -> None:
    x_hat, x = _pair(1e-3)
    recipe = small(balance=True, weights=(1.0, 0.5, 0.25), frobenius="norm", per_voxel=False)
    loss = losses.Composite(recipe)
    batch = {"x": x, "lam": torch.ones(2), "zero": torch.zeros(2)}
    found = loss({"x_hat": x_hat}, batch)
    norms = {}
    for term in recipe.terms:
        (gradient,) = torch.autograd.grad(found[f"part/{term}"], x_hat, retain_graph=True)
        norms[term] = float(gradient.norm())
    assert norms["frobenius"] / norms["mse"] == pytest.approx(0.5, rel=1e-3)
    assert norms["segmentation"] / norms["mse"] == pytest.approx(0.25, rel=1e-3)
    assert loss.balancer is not None
    again = losses.Balancer()
    again.load_state_dict(loss.balancer.state_dict())
    assert again.norms == loss.balancer.norms
    held = loss({"x_hat": x_hat}, batch, training=False)  # a yardstick that does not move
    assert float(held["total"]) == pytest.approx(float(losses.mse(x_hat, x).mean()), rel=1e-5)


def test_unknown_forms_are_refused() -> None:
    for wrong in ({"frobenius": "cubed"}, {"frobenius_of": "noise"}, {"segmentation": "hinge"}):
        with pytest.raises(InputError, match="choose from"):
            losses.Composite(small(**wrong))
    with pytest.raises(InputError, match="no term"):
        small(terms=("mse", "beauty"))
    assert math.isclose(losses.Composite(small(lambdas=(1.0, 100.0))).middle, 10)
