"""The private step against its definition, written out example by example."""

import pytest
import torch

from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
from clifftop.events import NeighboringRelation
from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss, TapeEngine, VmapEngine
from clifftop.gradients.base import stack_runs, trainable_parameters
from clifftop.noise import Gaussian, KeyedStreams
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import initial_state, private_gradient
from clifftop.sampling import FixedOrder, Poisson

R, B = 3, 7
CLIPS, SIGMAS = (0.05, 0.5, 50.0), (0.0, 1.0, 2.0)


def plans(expected: float | None) -> list[PrivacyPlan]:
    sampler = FixedOrder(batch_size=B) if expected is None else Poisson(sampling_prob=0.5)
    return [
        PrivacyPlan(
            sampler=sampler,
            clipping=Flat(clip_norm=clip),
            noise=Gaussian(noise_multiplier=sigma),
            neighboring_relation=NeighboringRelation.ZERO_OUT,
            expected_batch_size=expected,
        )
        for clip, sigma in zip(CLIPS, SIGMAS, strict=True)
    ]


def setting() -> tuple[PerExampleLoss, dict[str, torch.Tensor], Batch]:
    g = torch.Generator().manual_seed(0)
    models = []
    for _ in range(R):
        model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).double()
        for p in model.parameters():
            p.data = torch.randn(p.shape, generator=g, dtype=torch.float64)
        models.append(model)
    mask = torch.ones(R, B, dtype=torch.bool)
    mask[1, 5:] = False
    mask[2] = False
    batch = Batch(
        inputs=(torch.randn(R, B, 4, generator=g, dtype=torch.float64),),
        targets=(torch.randint(0, 3, (R, B), generator=g),),
        mask=mask,
    )
    loss = PerExampleLoss(module=models[0], criterion=cross_entropy)
    return loss, stack_runs(map(trainable_parameters, models)), batch


def by_hand(loss, params, batch, run: int, clip: float) -> dict[str, torch.Tensor]:
    total = {n: torch.zeros_like(p[run]) for n, p in params.items()}
    for i in range(B):
        if batch.mask[run, i]:
            live = {n: p[run].clone().requires_grad_() for n, p in params.items()}
            value = loss(live, {}, [batch.inputs[0][run, i : i + 1]], [batch.targets[0][run, i : i + 1]])
            grads = torch.autograd.grad(value.sum(), list(live.values()))
            norm = torch.cat([g.flatten() for g in grads]).norm()
            for name, grad in zip(live, grads, strict=True):
                total[name] += grad * min(1.0, clip / (norm.item() + 1e-12))
    return total


@pytest.mark.parametrize("engine", [LoopEngine(), VmapEngine(), TapeEngine()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("expected", [None, 4.0], ids=["realised", "expected"])
def test_a_step_is_clip_sum_noise_divide(engine, expected: float | None):
    loss, params, batch = setting()
    family = plans(expected)
    streams = KeyedStreams([1, 2, 3]).at(5)
    noisy, _, record = private_gradient(
        plan=family[0],
        engine=engine,
        loss=loss,
        params=params,
        batch=batch,
        state=initial_state(family, params["0.weight"]),
        streams=streams,
    )
    normals = streams.normal(params)
    for run, (clip, sigma) in enumerate(zip(CLIPS, SIGMAS, strict=True)):
        size = expected or max(1, int(batch.mask[run].sum()))
        assert noisy.noise_std[run].item() == pytest.approx(sigma * clip / size)
        for name, total in by_hand(loss, params, batch, run, clip).items():
            wanted = (total + sigma * clip * normals[name][run]) / size
            assert torch.allclose(noisy.value[name][run], wanted, rtol=1e-10, atol=1e-12)
    assert record is not None
    assert record.fraction_clipped[0] == 1
    assert record.clipping_bias[0] > 0
    assert record.noise_norm[0] == 0


def test_an_empty_batch_still_gets_its_noise():
    loss, params, batch = setting()
    family = plans(4.0)
    noisy, _, _ = private_gradient(
        plan=family[0],
        engine=TapeEngine(),
        loss=loss,
        params=params,
        batch=batch,
        state=initial_state(family, params["0.weight"]),
        streams=KeyedStreams([1, 2, 3]).at(0),
    )
    assert batch.mask[2].sum() == 0
    assert all(value[2].abs().sum() > 0 for value in noisy.value.values())


def test_one_example_moves_the_sum_by_at_most_the_clip_norm():
    """The bound that every epsilon here rests on, for examples of very different size."""
    loss, params, batch = setting()
    full = Batch(
        inputs=(batch.inputs[0] * 100,), targets=batch.targets, mask=torch.ones(R, B, dtype=torch.bool)
    )
    family = [PrivacyPlan(**{**vars(p), "noise": Gaussian(noise_multiplier=0.0)}) for p in plans(1.0)]
    state = initial_state(family, params["0.weight"])

    def total(mask: torch.Tensor) -> torch.Tensor:
        step = Batch(inputs=full.inputs, targets=full.targets, mask=mask)
        noisy, _, _ = private_gradient(
            plan=family[0], engine=TapeEngine(), loss=loss, params=params, batch=step, state=state,
            streams=KeyedStreams([1, 2, 3]).at(0), diagnose=False,
        )  # fmt: skip
        return torch.cat([v.flatten(1) for v in noisy.value.values()], 1)

    whole = total(full.mask)
    for i in range(B):
        without = full.mask.clone()
        without[:, i] = False
        moved = (whole - total(without)).norm(dim=1)
        assert (moved <= torch.tensor(CLIPS, dtype=torch.float64) * (1 + 1e-9)).all()


def test_a_poisoned_example_changes_nothing_but_itself():
    loss, params, batch = setting()
    inputs = batch.inputs[0].clone()
    inputs[0, 2] = float("nan")
    inputs[1, 0] = float("inf")
    family = plans(4.0)
    state = initial_state(family, params["0.weight"])
    without = batch.mask.clone()
    without[0, 2] = without[1, 0] = False
    results = []
    for data, mask in ((inputs, batch.mask), (batch.inputs[0], without)):
        noisy, _, _ = private_gradient(
            plan=family[0], engine=TapeEngine(), loss=loss, params=params,
            batch=Batch(inputs=(data,), targets=batch.targets, mask=mask), state=state,
            streams=KeyedStreams([1, 2, 3]).at(0),
        )  # fmt: skip
        results.append(noisy.value)
    for name in params:
        assert torch.allclose(results[0][name], results[1][name], rtol=1e-12)
