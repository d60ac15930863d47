"""Training of the network that predicts: its pieces, its arithmetic, what it writes, its stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from model_cases import coded_by, network, tiny_neural
from training_cases import write_volumes
from volumes import blobs, random_of

import volcodec
from volcodec import models
from volcodec.container import CODINGS, Reader
from volcodec.neural.coder import NeuralCoder
from volcodec.neural.passes import COUNT, KNOWN
from volcodec.training import neural, pieces
from volcodec.training.architectures import Room
from volcodec.training.data import gather
from volcodec.training.neural import NeuralTask, as_state, fresh, of_state
from volcodec.training.pieces import Pieces, closed_loop, piece_of
from volcodec.training.predictor import Predictor, binary_log, binary_power, errors
from volcodec.training.pyramid import PyramidArchitecture
from volcodec.training.recipe import recipe_for
from volcodec.training.run import train

SHAPE = (33, 30, 35)


def some_pieces(count: int = 3) -> Pieces:
    rng = random_of("pieces")
    made = [piece_of(blobs(SHAPE, f"piece {i}").astype(np.float32), rng) for i in range(count)]
    return Pieces([piece for piece in made if piece is not None])


@pytest.mark.parametrize("step", [1, 7, 255])
def test_a_closed_loop_keeps_its_bound(step: int) -> None:
    tile = np.rint(5000 * blobs(SHAPE, "loop")).astype(np.int32)
    assert np.abs(closed_loop(tile, step) - tile).max() <= step // 2


def test_pieces_of_constants_hold_nothing() -> None:
    assert piece_of(np.full((9, 9, 9), 3.0, np.float32), random_of("nothing")) is None


def test_what_is_known_is_what_lies_around() -> None:
    """Nothing is told that a pass doesn't know, and what is told are values of the piece."""
    piece = some_pieces(1).pieces[0]
    drawn = Pieces([piece]).draw(200, random_of("draw"))
    assert drawn.near.shape == (len(drawn.index), COUNT) and len(drawn.index) >= 190
    inside = (slice(pieces._MARGIN, -pieces._MARGIN),) * 3
    values = np.unique(piece.decoded[inside])
    for i, (near, mask, index) in enumerate(zip(drawn.near, drawn.mask, drawn.index, strict=True)):
        assert set(np.flatnonzero(mask)) <= set(KNOWN[index])
        assert (near[~mask] == 0).all() and near[np.argmax(mask)] == 0
        told = near[mask] * piece.step - drawn.low[i] * piece.step + piece.limits[0]
        assert np.isin(np.rint(told), values).all()
        assert drawn.low[i] <= drawn.value[i] <= drawn.high[i]


def test_logarithms_and_powers_undo_each_other() -> None:
    x = torch.logspace(-3, 3, 50)
    assert torch.allclose(binary_power(binary_log(x)), x, rtol=1e-5)
    whole = torch.arange(-3, 4).float()
    assert torch.equal(binary_log(torch.exp2(whole)), whole)


def test_errors_that_no_symbol_corrects() -> None:
    """Predictions near a limit become it; farther than half a step off there is a symbol."""
    low, high = torch.zeros(6), torch.full((6,), 10.0)
    guess = torch.tensor([0.39, 0.45, 3.2, 3.2, 9.61, 9.61], requires_grad=True)
    value = torch.tensor([0.0, 0.0, 3.0, 2.0, 10.0, 9.75])
    lost = errors(guess, low, high, value)
    assert torch.allclose(lost, torch.tensor([0.0, 0.2025, 0.04, 0.0, 0.0, 0.0625]))
    lost.sum().backward()
    assert guess.grad is not None
    assert torch.allclose(guess.grad, torch.tensor([0.0, 0.9, 0.4, 0.0, 0.0, 0.0]))


def test_a_dead_zone_bounds_errors() -> None:
    """As without a bound: errors beyond half a step, but by no more than the zone."""
    tile = np.rint(255 * 8 * blobs((33, 30, 41), "dead")).astype(np.int32)
    plain, dead = closed_loop(tile, 255), closed_loop(tile, 255, 0.25)
    nearest, zoned = (np.abs(tile.astype(np.int64) - decoded).max() for decoded in (plain, dead))
    assert nearest <= 127 < zoned <= 127 + 63


def test_weights_come_back() -> None:
    w = network(16, 8)
    again = Predictor.of(w).weights()
    assert all(
        np.array_equal(a, b)
        for a, b in zip(as_state(w).values(), as_state(again).values(), strict=True)
    )
    assert np.array_equal(of_state(as_state(w)).w1, w.w1)


def trained(steps: int) -> tuple[Predictor, list[float]]:
    torch.manual_seed(1)
    task = NeuralTask(
        recipe_for("pyramid", batch=64),
        fresh((16, 8)),
        some_pieces(4),
        some_pieces(2),
        None,
        Path("none"),
    )
    net = task.module
    assert isinstance(net, Predictor)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    found = [task.validate(net)["total"]]
    for i in range(steps):
        optimiser.zero_grad()
        task.loss(net, task.batch(np.random.default_rng(i)))["total"].backward()
        optimiser.step()
    found.append(task.validate(net)["total"])
    return net, found


def test_bits_of_training_are_bytes_of_files() -> None:
    """A network that is trained for fewer bits writes fewer bytes of what it was trained on."""
    net, (before, after) = trained(60)
    assert after < 0.95 * before
    sizes = []
    for weights in (fresh((16, 8)).weights(), net.weights()):
        coder = NeuralCoder(weights)
        made = [coder.encode(p.tile, 4, p.step, None, 4) for p in some_pieces(4).pieces]
        sizes.append(sum(adapted.size for adapted in made if adapted is not None))
    assert 0 < sizes[1] < 0.93 * sizes[0]


def test_a_network_is_gone_on_from_and_used(tmp_path: Path) -> None:
    volumes = write_volumes(tmp_path / "volumes")
    start = tmp_path / "start.safetensors"
    start.write_bytes(tiny_neural())
    recipe = recipe_for("pyramid", steps=4, validations=2, crops=2, start=str(start), lr=1.0,
                        clip=0.0, device="cpu", batch=64)  # fmt: skip
    outcome = train([volumes], tmp_path / "again", recipe)
    record = outcome.records[-1]
    assert record["loss"] <= record["loss_of_start"]
    before, after = (models.load(path).neural for path in (start, outcome.model))
    assert before is not None and after is not None
    if "kept from" in record["said"]:
        assert np.array_equal(after.w1, before.w1)
    assert not (outcome.folder / "pieces.json").exists()
    volume = np.load(volumes / "a.npy")
    with coded_by("neural"):
        blob = volcodec.Codec(outcome.model).encode(volume, rel_error=1e-2)
    assert volcodec.verify(blob, against=volume, model=models.load(outcome.model)).ok
    assert {CODINGS[e.coding] for e in Reader(blob).index} == {"neural"}


def test_stages_of_a_family() -> None:
    """Most of the time goes to the network, which learns quickly where it begins."""
    stages = PyramidArchitecture(recipe_for("pyramid", start="density")).stages()
    assert stages[-1].name == "neural" and stages[-1].share >= 0.5 and stages[-1].rate > 1
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    without = PyramidArchitecture(recipe_for("pyramid", start="density", predictor=False)).stages()
    assert "neural" not in [stage.name for stage in without]


def test_pieces_are_gathered_again_as_they_were(tmp_path: Path) -> None:
    """Crops that hold nothing count, too: a restart looks at as many."""
    volumes = write_volumes(tmp_path / "volumes", 2)
    np.save(volumes / "empty.npy", np.pad(np.ones((1, 1, 1), np.float32), 40))
    data = gather([volumes], "0.3", 1)
    recipe = recipe_for("pyramid", steps=2, crops=5, start="density", batch=16)
    room = Room(tmp_path, 0.0, lambda line: None)
    tasks = [neural.begin(recipe, data, None, 0.0, room) for _ in range(2)]
    counts = [len(task.pieces.pieces) for task in tasks]
    assert counts[0] == counts[1]
    assert all(torch.equal(a["near"], b["near"])
               for a, b in zip(tasks[0].held, tasks[1].held, strict=True))  # fmt: skip


def test_integers_of_too_wide_a_range_are_no_piece() -> None:
    wide = np.array([0, 2**32 - 1] * 32, np.uint32).reshape(4, 4, 4)
    assert piece_of(wide, random_of("wide")) is None
