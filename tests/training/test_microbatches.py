"""Microbatches from measured bytes: what is measured, what is chosen, and that results stay equal."""

import copy
import math

import pytest
import torch
from torch import nn

from clifftop.criteria import cross_entropy
from clifftop.flow import Batch
from clifftop.gradients import PerExampleLoss, TapeEngine, VmapEngine
from clifftop.gradients.base import trainable_parameters
from clifftop.training import Automatic, Fixed, Whole
from clifftop.training.memory import UNKNOWN_FREE_BYTES, _available, _group_room, free_bytes
from clifftop.training.memory import held_bytes_per_example as held


class Wide(nn.Module):
    """Few parameters and large activations: each example passes through ``width`` positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        spread = x.unsqueeze(1).expand(-1, self.width, -1)
        return self.last(torch.tanh(self.first(spread)).mean(1))


def parts(model: nn.Module, size: int = 8):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(1, size, 4, generator=generator)
    batch = Batch(
        inputs=(inputs,), targets=(torch.arange(size)[None] % 3,), mask=torch.ones(1, size, dtype=torch.bool)
    )
    loss = PerExampleLoss(module=model, criterion=cross_entropy)
    return {
        "loss": loss,
        "params": {n: p[None] for n, p in trainable_parameters(model).items()},
        "batch": batch,
    }


def test_one_example_holds_what_its_activations_take():
    """tanh keeps its output, Linear its input: one or two maps of (width, 4) floats, three times."""
    width = 1000
    one_map = width * 4 * 4
    found = held(engine=TapeEngine(), **parts(Wide(width)))
    assert 3 * one_map <= found <= 3 * 2.1 * one_map
    assert held(engine=TapeEngine(), **parts(Wide(2 * width))) == pytest.approx(2 * found, rel=0.01)


def test_an_engine_that_stores_gradients_holds_one_more_an_example():
    model = Wide(10)
    gradient = sum(p.nbytes for p in model.parameters())
    more = held(engine=VmapEngine(), **parts(model)) - held(engine=TapeEngine(), **parts(model))
    assert more == 3 * gradient


def test_weights_do_not_count():
    """A weight that is saved for the backward pass is there once, whatever the batch."""
    big = nn.Sequential(nn.Linear(4, 4096), nn.Linear(4096, 1), nn.Flatten(0), nn.Unflatten(0, (-1, 1)))
    found = held(engine=TapeEngine(), **parts(nn.Sequential(*big, nn.Linear(1, 3))))
    assert found < 5 * 4096 * 4
    assert sum(p.nbytes for p in big.parameters()) > 80_000


def test_measuring_leaves_everything_as_it_was():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    before = {n: p.clone() for n, p in model.state_dict().items()}
    state = torch.get_rng_state()
    held(engine=TapeEngine(), **parts(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], p) for n, p in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_the_size_falls_as_activations_grow():
    sizes = [
        Automatic(budget_bytes=10**7).size(engine=TapeEngine(), **parts(Wide(w))) for w in (10, 100, 10**4)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    assert all(size % 8 == 0 or size < 8 for size in sizes)


def test_the_size_is_the_budget_over_the_bytes():
    model = Wide(10)
    one = held(engine=TapeEngine(), **parts(model))
    for rows, wanted in ((1, 1), (7, 7), (8, 8), (15, 8), (16, 16)):
        chosen = Automatic(budget_bytes=rows * one).size(engine=TapeEngine(), **parts(model))
        assert chosen == wanted
    assert Automatic(budget_bytes=1).size(engine=TapeEngine(), **parts(model)) == 1


def test_a_share_of_free_memory_is_the_default():
    chosen = Automatic(fraction=0.25).size(engine=TapeEngine(), **parts(Wide(1000)))
    one = held(engine=TapeEngine(), **parts(Wide(1000)))
    assert chosen == pytest.approx(0.25 * free_bytes(torch.device("cpu")) / one, rel=0.5)


@pytest.mark.parametrize("microbatches", [Automatic(budget_bytes=2000), Fixed(3)], ids=["automatic", "fixed"])
def test_a_run_is_the_same_in_slices(make, flat, microbatches):
    like = make()
    whole, sliced = (
        make(
            module=copy.deepcopy(like.module).double(),
            inputs=tuple(x.double() for x in like.inputs),
            microbatches=kind,
        )
        for kind in (Whole(), microbatches)
    )
    whole.fit(steps=8)
    sliced.fit(steps=8)
    assert whole.microbatch_size is None
    assert sliced.microbatch_size < 18
    assert torch.allclose(flat(whole), flat(sliced), rtol=1e-11, atol=1e-13)


def test_free_memory_is_what_the_tightest_says(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 900 kB\nMemAvailable:    500 kB\n")
    assert _available(meminfo) == 500 * 1024
    assert _available(tmp_path / "absent") is None
    assert _group_room(tmp_path) == []
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.stat").write_text("anon 3\ninactive_file 400\n")
    assert _group_room(tmp_path) == []
    (tmp_path / "memory.max").write_text("5000\n")
    assert _group_room(tmp_path) == [4400]
    old = tmp_path / "memory"
    old.mkdir()
    for name, value in (("limit_in_bytes", "3000"), ("usage_in_bytes", "1000"), ("stat", "cache 7")):
        (old / f"memory.{name}").write_text(value)
    assert _group_room(tmp_path) == [4400, 2000]
    assert 0 < free_bytes(torch.device("cpu")) < math.inf


def test_an_unknown_system_has_a_stated_amount(monkeypatch, tmp_path):
    monkeypatch.setattr("clifftop.training.memory._MEMINFO", tmp_path / "absent")
    monkeypatch.setattr("clifftop.training.memory._GROUPS", tmp_path)
    assert free_bytes(torch.device("cpu")) == UNKNOWN_FREE_BYTES


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Fixed(0), "microbatch_size must be a whole number >= 1, found microbatch_size=0"),
        (lambda: Automatic(fraction=0.0), r"fraction must be in \(0, 1\], found fraction=0.0"),
        (lambda: Automatic(budget_bytes=0), "budget_bytes must be >= 1, found budget_bytes=0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
