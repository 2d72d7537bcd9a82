"""Learning rate as data: the conformance test that decides which optimisers may train a cohort."""

import pytest
import torch

from clifftop.flow import NoisySum
from clifftop.lab.optim import OPTIMIZERS, CohortOptimizer
from clifftop.lab.spec import OptimizerSpec, SpecError

LRS = (0.001, 0.1, 3.0)
SETTINGS = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("adam", {}),
    ("adam", {"weight_decay": 0.01, "amsgrad": True}),
    ("adamw", {"weight_decay": 0.1}),
    ("rmsprop", {"momentum": 0.5, "centered": True}),
    ("adagrad", {"lr_decay": 0.01}),
    ("nadam", {}),
]


def trajectories(name, options, *, steps=12):
    """R parameters after ``steps`` steps together, and each alone with its own torch optimiser."""
    g = torch.Generator().manual_seed(0)
    start = torch.randn(len(LRS), 4, 3, generator=g, dtype=torch.float64)
    grads = torch.randn(steps, len(LRS), 4, 3, generator=g, dtype=torch.float64)
    together = {"w": start.clone()}
    cohort = CohortOptimizer([OptimizerSpec(name=name, lr=lr, options=options) for lr in LRS], together)
    for grad in grads:
        cohort.step(NoisySum(value={"w": grad}, noise_std=torch.zeros(len(LRS))))
    alone = []
    for r, lr in enumerate(LRS):
        p = start[r].clone()
        optimizer = OPTIMIZERS[name]([p], lr=lr, **options)
        for grad in grads:
            p.grad = grad[r]
            optimizer.step()
        alone.append(p)
    return together["w"], torch.stack(alone)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_runs_with_their_own_learning_rates_equal_runs_alone(name, options):
    together, alone = trajectories(name, options)
    assert torch.allclose(together, alone, rtol=1e-12, atol=1e-13)


def test_every_listed_optimiser_is_tested():
    assert {name for name, _ in SETTINGS} == set(OPTIMIZERS)


def test_adafactor_would_fail_this_test(monkeypatch):
    """Negative control: an optimiser whose step is not proportional to its learning rate."""
    monkeypatch.setattr("clifftop.lab.optim.OPTIMIZERS", {"adafactor": torch.optim.Adafactor})
    monkeypatch.setitem(globals(), "OPTIMIZERS", {"adafactor": torch.optim.Adafactor})
    together, alone = trajectories("adafactor", {})
    assert not torch.allclose(together, alone, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_resumed_optimiser_goes_on_exactly(name):
    g = torch.Generator().manual_seed(0)
    grads = [
        NoisySum(value={"w": torch.randn(2, 3, generator=g)}, noise_std=torch.zeros(2)) for _ in range(6)
    ]
    specs = [OptimizerSpec(name=name, lr=lr) for lr in (0.1, 0.2)]
    whole = {"w": torch.ones(2, 3)}
    one = CohortOptimizer(specs, whole)
    for grad in grads:
        one.step(grad)
    part = {"w": torch.ones(2, 3)}
    first = CohortOptimizer(specs, part)
    for grad in grads[:3]:
        first.step(grad)
    second = CohortOptimizer(specs, part)
    second.load_state_dict(first.state_dict())
    for grad in grads[3:]:
        second.step(grad)
    assert torch.equal(whole["w"], part["w"])


def test_an_unknown_optimiser_or_option_is_named():
    params = {"w": torch.ones(1, 2)}
    with pytest.raises(SpecError, match="found name='lbfgs'; use one of sgd"):
        CohortOptimizer([OptimizerSpec(name="lbfgs", lr=0.1)], params)
    with pytest.raises(SpecError, match=r"options must be sgd's own, found options=\{'beta': 1.0\}"):
        CohortOptimizer([OptimizerSpec(name="sgd", lr=0.1, options={"beta": 1.0})], params)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_some_of_the_runs_go_on_bit_for_bit(name, options):
    """A cohort that lets a run go hands the others' state on; forgetting it would be seen."""
    g = torch.Generator().manual_seed(1)
    params = {"w": torch.randn(3, 4, 3, generator=g), "s": torch.randn(3, generator=g)}
    grads = [{n: torch.randn(p.shape, generator=g) for n, p in params.items()} for _ in range(8)]
    specs = [OptimizerSpec(name=name, lr=lr, options=options) for lr in LRS]
    rows, std = [0, 2], torch.zeros(3)
    whole = {n: p.clone() for n, p in params.items()}
    cohort = CohortOptimizer(specs, whole)
    for step, grad in enumerate(grads):
        if step == 4:
            kept = {n: p[rows].clone() for n, p in whole.items()}
            rest = CohortOptimizer([specs[r] for r in rows], kept)
            rest.take(cohort, torch.tensor(rows))
        cohort.step(NoisySum(value=grad, noise_std=std))
        if step >= 4:
            rest.step(NoisySum(value={n: v[rows] for n, v in grad.items()}, noise_std=std[rows]))
    for n, p in whole.items():
        assert torch.equal(kept[n], p[rows]), n
