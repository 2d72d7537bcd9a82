"""The private step against its definition, written out example by example."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from clifftop.clipping import ClippingRule, Flat
from clifftop.criteria import cross_entropy
from clifftop.events import NeighboringRelation
from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss, TapeEngine, VmapEngine
from clifftop.gradients.base import stack_runs, trainable_parameters
from clifftop.gradients.instantiated import InstantiatedGrads
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


def measured(clipped, whole, noise, size):
    """What a record says of some parameters together, by hand."""
    kept, true, noise = (torch.cat([v.flatten() for v in some]) for some in (clipped, whole, noise))
    return {
        "clipping_bias": (kept - true).norm() / size,
        "bias_cosine": kept @ true / (kept.norm() * true.norm()),
        "signal_norm": kept.norm() / size,
        "noise_norm": noise.norm() / size,
    }


LAYERS = {"0": ["0.weight", "0.bias"], "2": ["2.weight", "2.bias"]}


@pytest.mark.parametrize("reduced", [False, True])
def test_a_record_measures_clipping_and_noise_as_a_whole_and_by_layer(reduced):
    """With ``reduce`` signal and noise are those of all processes, the bias this one's own."""
    loss, params, batch = setting()
    family = plans(4.0)
    streams = KeyedStreams([1, 2, 3]).at(5)
    _, _, record = step_with(
        TapeEngine(), family, loss, params, batch, per_layer=True,
        reduce=twice_in_place if reduced else None,
    )  # fmt: skip
    assert {name.partition(":")[2] for name in record.layers} == set(LAYERS)
    normals = streams.normal(params)
    for run, (clip, sigma) in enumerate(zip(CLIPS[:2], SIGMAS, strict=False)):
        clipped = by_hand(loss, params, batch, run, clip)
        whole = by_hand(loss, params, batch, run, float("inf"))
        noise = {name: sigma * clip * normals[name][run] for name in params}
        for suffix, names in (("", list(params)), *((f":{layer}", own) for layer, own in LAYERS.items())):
            wanted = measured(*([of[name] for name in names] for of in (clipped, whole, noise)), 4.0)
            for name, value in wanted.items():
                factor = 2 if reduced and name == "signal_norm" else 1
                found = record.numbers()[f"{name}{suffix}"][run]
                assert found.item() == pytest.approx(factor * value.item(), rel=1e-9), (name, suffix)
    assert (record.bias_cosine[:2] < 1).all()
    assert record.bias_cosine[2].isnan()  # an empty batch has no direction


def twice_in_place(clipped):
    for value in clipped.value.values():
        value.mul_(2)
    return clipped


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


class OneNumber:
    """State of the rule below: one number a run."""

    def __init__(self, clip_norm: torch.Tensor) -> None:
        self.clip_norm = clip_norm


class SumOfNorms(ClippingRule):
    """A rule whose next state depends on all norms of the batch; for tests, it has no event."""

    def init(self, *, device_of):
        return OneNumber(torch.ones(1, dtype=device_of.dtype))

    def stack(self, states):
        return OneNumber(torch.cat([s.clip_norm for s in states]))

    def template(self):
        return self

    def groups(self, names):
        return dict.fromkeys(names, 0)

    def weights(self, sq_norms, mask, state):
        return Flat(clip_norm=1.0).weights(sq_norms, mask, state)

    def norm_bound(self, state):
        return state.clip_norm

    def __call__(self, grads, mask, state):
        total, weights, _ = super().__call__(grads, mask, state)
        norms = grads.sq_norms().sum(-1).sqrt().masked_fill(~mask, 0)
        return total, weights, OneNumber(norms.sum(1) + 0.5)


def dropout_setting():
    loss, params, batch = setting()
    module = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Dropout(0.4), torch.nn.Linear(6, 3)
    ).double()
    renamed = {name.replace("2.", "3."): value for name, value in params.items()}
    return PerExampleLoss(module=module, criterion=loss.criterion), renamed, batch


def step_with(engine, family, loss, params, batch, **changes):
    return private_gradient(
        plan=family[0],
        engine=engine,
        loss=loss,
        params=params,
        batch=batch,
        state=initial_state(family, next(iter(params.values()))),
        streams=KeyedStreams([1, 2, 3]).at(5),
        **changes,
    )


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("engine", [VmapEngine(), TapeEngine()], ids=lambda e: type(e).__name__)
def test_microbatches_change_nothing(engine, size):
    """Sums, noise, dropout masks and the record, to the round-off of adding in another order."""
    loss, params, batch = dropout_setting()
    whole, _, seen = step_with(engine, plans(4.0), loss, params, batch, per_layer=True)
    parts, _, pieces = step_with(
        engine, plans(4.0), loss, params, batch, microbatch_size=size, per_layer=True
    )
    for name, value in whole.value.items():
        assert torch.allclose(value, parts.value[name], rtol=1e-12, atol=1e-13)
    for name, value in seen.numbers().items():
        assert torch.allclose(value, pieces.numbers()[name], rtol=1e-12, atol=1e-13, equal_nan=True), name


def test_the_engine_meets_slices_of_the_size_asked_for():
    loss, params, batch = setting()
    calls = []

    def engine(loss, params, part, groups, draws):
        calls.append(part.padded_size)
        return TapeEngine()(loss, params, part, groups, draws)

    step_with(engine, plans(4.0), loss, params, batch, microbatch_size=3)
    assert calls == [3, 3, 1]


def test_an_adaptive_rule_sees_the_whole_batch_once():
    loss, params, batch = setting()
    family = [PrivacyPlan(**{**vars(p), "clipping": SumOfNorms()}) for p in plans(4.0)]
    whole = step_with(TapeEngine(), family, loss, params, batch)[1]
    parts = step_with(TapeEngine(), family, loss, params, batch, microbatch_size=2)[1]
    assert torch.allclose(whole.clipping.clip_norm, parts.clipping.clip_norm, rtol=1e-12)
    assert (whole.clipping.clip_norm > 0.5).any()


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_a_microbatch_size_that_is_none_is_refused(size):
    loss, params, batch = setting()
    with pytest.raises(ValueError, match="microbatch_size must be None or a whole number >= 1, found"):
        step_with(TapeEngine(), plans(4.0), loss, params, batch, microbatch_size=size)


def test_parts_of_a_batch_are_added_before_the_noise():
    """Two processes with half a batch each give what one gives, and the noise comes once."""
    loss, params, batch = setting()
    whole, _, _ = step_with(TapeEngine(), plans(None), loss, params, batch)
    sums = []

    def half(rows: slice, reduce):
        part = Batch(
            inputs=tuple(x[:, rows] for x in batch.inputs),
            targets=tuple(y[:, rows] for y in batch.targets),
            mask=batch.mask[:, rows],
        )
        return step_with(TapeEngine(), plans(None), loss, params, part, reduce=reduce, realised_size=7)[0]

    def keep(clipped):
        sums.append({name: value.clone() for name, value in clipped.value.items()})
        return clipped

    def add(clipped):
        for name, value in clipped.value.items():
            value.add_(sums[0][name])
        return clipped

    half(slice(0, 4), keep)
    both = half(slice(4, 7), add)
    for name, value in whole.value.items():
        assert torch.allclose(value[0], both.value[name][0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [None, 2])
def test_the_record_counts_what_was_not_finite(size):
    loss, params, batch = setting()
    inputs = batch.inputs[0].clone()
    inputs[0, 2] = float("nan")
    inputs[1, :2] = float("inf")
    inputs[1, 6] = float("inf")  # padding counts for nothing
    poisoned = Batch(inputs=(inputs,), targets=batch.targets, mask=batch.mask)
    seen = []
    _, _, record = step_with(
        TapeEngine(),
        plans(4.0),
        loss,
        params,
        poisoned,
        microbatch_size=size,
        watch=lambda mask, weights: seen.append((mask, weights)),
    )
    assert record.num_nonfinite.tolist() == [1, 2, 0]
    assert not record.norm_q90[:1].isnan().any()
    ((mask, weights),) = seen
    assert ((weights[..., 0] == 0) & mask).sum(1).tolist() == [1, 2, 0]


def test_a_finite_gradient_of_a_loss_that_is_not_counts_as_zero():
    """The gradient of a loss that is NaN by a constant is finite; the example is left out all the same."""
    loss, params, batch = setting()

    def broken(output, target):
        plain = cross_entropy(output, target)
        return plain + torch.where(target == 0, torch.full_like(plain, torch.nan), 0).detach()

    noisy, _, record = step_with(
        LoopEngine(), plans(4.0), PerExampleLoss(module=loss.module, criterion=broken), params, batch
    )
    without = Batch(inputs=batch.inputs, targets=batch.targets, mask=batch.mask & (batch.targets[0] != 0))
    wanted, _, _ = step_with(LoopEngine(), plans(4.0), loss, params, without)
    assert record.num_nonfinite.sum() == (batch.mask & (batch.targets[0] == 0)).sum() > 0
    for name, value in wanted.value.items():
        assert torch.allclose(value, noisy.value[name], rtol=1e-12)


def test_noise_without_a_bound_is_refused_before_the_first_step():
    class Unbounded(SumOfNorms):
        def norm_bound(self, state):
            return state.clip_norm * torch.inf

    plan = PrivacyPlan(**{**vars(plans(4.0)[1]), "clipping": Unbounded()})
    with pytest.raises(ValueError, match=r"finite norm bound, found norm_bound=\[inf\] with Gaussian"):
        initial_state([plan], torch.zeros(1))
    silent = PrivacyPlan(**{**vars(plan), "noise": Gaussian(noise_multiplier=0.0)})
    initial_state([silent], torch.zeros(1))


def test_a_step_can_be_traced_as_one_graph():
    """No value of a tensor decides what is done, given an engine that holds to that too."""
    x, y = torch.randn(1, 5, 3), torch.randn(1, 5)
    plan = plans(4.0)[1]
    state = initial_state([plan], torch.zeros(1))
    loss = PerExampleLoss(module=torch.nn.Identity(), criterion=cross_entropy)

    def engine(loss, params, batch, groups, draws):
        error = (batch.inputs[0] @ params["w"].unsqueeze(-1)).squeeze(-1) - batch.targets[0]
        rows = {"w": 2 * error.unsqueeze(-1) * batch.inputs[0]}
        return InstantiatedGrads(losses=error.square(), rows=rows, groups=groups)

    def step(w, x, y, mask):
        batch = Batch(inputs=(x,), targets=(y,), mask=mask)
        noisy, _, _ = private_gradient(
            plan=plan, engine=engine, loss=loss, params={"w": w}, batch=batch, state=state,
            streams=KeyedStreams([1]).at(0), diagnose=False,
        )  # fmt: skip
        return noisy.value["w"]

    arguments = (torch.randn(1, 3), x, y, torch.ones(1, 5, dtype=torch.bool))
    graph = make_fx(step)(*arguments)
    assert torch.equal(graph(*arguments), step(*arguments))
    others = (arguments[0] * 50, x * 3, y, torch.tensor([[True, False, True, False, True]]))
    assert torch.equal(graph(*others), step(*others))
