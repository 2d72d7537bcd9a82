"""Deferred noise against the dense mechanism: the same numbers without noise, the same law with it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan
from clifftop.capture import CapturedSumming, Graphs, PrivateStep
from clifftop.flow import Batch
from clifftop.gradients import LoopEngine, PerExampleLoss, TapeEngine, UnsupportedModule, VmapEngine
from clifftop.gradients.base import constant_tensors, trainable_parameters
from clifftop.gradients.graph import GraphEngine
from clifftop.noise import Keyed
from clifftop.private_gradient import initial_state, private_gradient
from clifftop.tables import DeferredTables, private_step
from clifftop.tables.pending import Pending


class Recommender(nn.Module):
    def __init__(self, *, sparse: bool = True, rows: int = 30, width: int = 3) -> None:
        super().__init__()
        self.users = nn.Embedding(rows, width, sparse=sparse)
        self.items = nn.EmbeddingBag(rows + 5, width, mode="mean", padding_idx=4, sparse=sparse)
        self.tags = nn.EmbeddingBag(rows, 2, mode="sum", sparse=sparse)
        self.head = nn.Sequential(nn.Linear(2 * width + 2, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        parts = [self.users(ids[:, 0]), self.items(ids[:, 1:4]), self.tags(input=ids[:, 4:])]
        return self.head(torch.cat(parts, dim=1)).squeeze(1)


def squared(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square()


def plan(noise_multiplier: float) -> PrivacyPlan:
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=0.1),
        clipping=Flat(clip_norm=0.4),
        noise=Gaussian(noise_multiplier=noise_multiplier),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=5.0,
    )


def batches(count: int, *, rows: int = 30, size: int = 5) -> list[Batch]:
    rng = torch.Generator().manual_seed(7)
    found = []
    for step in range(count):
        ids = torch.randint(0, rows, (1, size, 6), generator=rng)
        ids[0, 0, 1:4] = 4  # a bag of nothing but padding
        targets = torch.randn(1, size, generator=rng, dtype=torch.float64)
        mask = torch.ones(1, size, dtype=torch.bool)
        mask[0, size - step % 3 :] = step % 3 == 0
        found.append(Batch(inputs=(ids,), targets=(targets,), mask=mask))
    return found


class Run:
    """Private training of one model, by rows or dense."""

    def __init__(
        self, model: nn.Module, *, engine=None, noise_multiplier=0.0, deferred=True, summing=None, **options
    ):
        self.model, self.engine = model, engine or GraphEngine()
        self.plan = plan(noise_multiplier)
        settings = {"lr": 0.5, "weight_decay": options.pop("weight_decay", 0.0)}
        self.optimizer = torch.optim.SGD(model.parameters(), **settings)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.7)
        self.tables = DeferredTables(model, self.optimizer, seed=5, **options) if deferred else None
        self.summing = summing
        self.state = initial_state([self.plan], next(model.parameters()))
        self.streams = Keyed().open([3])
        self.steps = 0

    def step(self, batch: Batch) -> None:
        constants = {name: c[None] for name, c in constant_tensors(self.model).items()}
        common = {
            "plan": self.plan,
            "engine": self.engine,
            "loss": PerExampleLoss(module=self.model, criterion=squared, constants=constants),
            "batch": batch,
            "state": self.state,
            "streams": self.streams.at(self.steps),
        }
        params = {name: p[None] for name, p in trainable_parameters(self.model).items()}
        if self.tables is None:
            noisy, self.state, _ = private_gradient(params=params, **common)
        else:
            params = {name: p for name, p in params.items() if name not in self.tables.names}
            noisy, self.state, _ = private_step(
                tables=self.tables, params=params, summing=self.summing, **common
            )
        for name, value in noisy.value.items():
            self.model.get_parameter(name).grad = value[0]
        self.optimizer.step()
        self.schedule.step()
        self.steps += 1


def pair(**options) -> tuple[Run, Run]:
    """The same model by rows, and dense."""
    torch.manual_seed(0)
    by_rows = Recommender().double()
    dense = Recommender(sparse=False).double()
    dense.load_state_dict(by_rows.state_dict())
    weight_decay = options.pop("weight_decay", 0.0)
    engine = options.pop("engine", None)
    return (
        Run(by_rows, engine=engine, weight_decay=weight_decay, **options),
        Run(dense, weight_decay=weight_decay, deferred=False),
    )


def test_the_captured_step_reads_the_rows_of_its_own_batch():
    """Many steps of few shapes: a graph that kept the first batch's rows would go wrong at the second."""
    captured, dense = pair(engine=GraphEngine(), summing=CapturedSumming())
    for batch in batches(6):
        captured.step(batch)
        dense.step(batch)
    for name, p in dense.model.named_parameters():
        torch.testing.assert_close(captured.model.state_dict()[name], p.detach(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(
    "engine", [TapeEngine(), LoopEngine(), VmapEngine(), GraphEngine()], ids=lambda e: type(e).__name__
)
def test_without_noise_equals_dense(engine, weight_decay: float):
    by_rows, dense = pair(engine=engine, weight_decay=weight_decay)
    for batch in batches(6):
        by_rows.step(batch)
        dense.step(batch)
    by_rows.tables.flush()
    for name, p in dense.model.named_parameters():
        torch.testing.assert_close(by_rows.model.get_parameter(name), p, rtol=1e-12, atol=1e-13)


class TwoTowers(nn.Module):
    """One table, looked up twice; which rows depends on a calculation, and on a buffer."""

    def __init__(self, *, sparse: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 3, sparse=sparse)
        self.head = nn.Linear(3, 1)
        self.register_buffer("shift", torch.tensor(3))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        left = self.table((7 * ids[:, :2] + self.shift) % 40).sum(1)
        return self.head(left * self.table(ids[:, 2:].t()).mean(0)).squeeze(1)


@pytest.mark.parametrize(
    "engine", [LoopEngine(), VmapEngine(), GraphEngine()], ids=lambda e: type(e).__name__
)
def test_a_table_that_is_read_twice(engine):
    torch.manual_seed(0)
    by_rows, dense = TwoTowers().double(), TwoTowers(sparse=False).double()
    dense.load_state_dict(by_rows.state_dict())
    runs = Run(by_rows, engine=engine), Run(dense, engine=LoopEngine(), deferred=False)
    for batch in batches(4):
        for run in runs:
            run.step(batch)
    for name, value in dense.state_dict().items():
        torch.testing.assert_close(by_rows.state_dict()[name], value, rtol=1e-12, atol=1e-13)


def bare_step(model: nn.Module, *, deferred: bool, graphs: Graphs | None, sigma: float = 0.0) -> PrivateStep:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)
    return PrivateStep(
        module=model,
        criterion=squared,
        optimizer=optimizer,
        plan=plan(sigma),
        seed=3,
        graphs=graphs,
        tables=DeferredTables(model, optimizer, seed=5) if deferred else None,
    )


@pytest.mark.parametrize("kind", [Recommender, TwoTowers])
@pytest.mark.parametrize("graphs", [Graphs(), None], ids=["graph", "engine"])
def test_the_bare_step_trains_tables_by_rows(kind, graphs: Graphs | None):
    """Batches of several sizes, an empty one and one that is not finite among them."""
    torch.manual_seed(0)
    by_rows, dense = kind().double(), kind(sparse=False).double()
    dense.load_state_dict(by_rows.state_dict())
    steps = [bare_step(by_rows, deferred=True, graphs=graphs), bare_step(dense, deferred=False, graphs=None)]
    rng = torch.Generator().manual_seed(7)
    for size in (5, 5, 0, 9, 1, 5, 5):
        ids = torch.randint(0, 30, (size, 6), generator=rng)
        targets = torch.randn(size, generator=rng, dtype=torch.float64)
        if size == 9:
            targets[0] = math.nan
        for step in steps:
            step((ids,), (targets,))
    if graphs is not None:
        assert any(quick is not None for quick in steps[0]._quick.values())
    for name, value in dense.state_dict().items():
        torch.testing.assert_close(by_rows.state_dict()[name], value, rtol=1e-12, atol=1e-13)


def test_the_bare_step_owes_all_rows_their_noise():
    """With zero gradients tables are noise alone after a flush: their variance over 7,200 numbers, at 6
    standard errors (false alarm 2e-9); unflushed rows lack it."""
    torch.manual_seed(0)
    model = Recommender(rows=800).double()
    for p in model.parameters():
        nn.init.zeros_(p)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    tables = DeferredTables(model, optimizer, seed=5)
    step = PrivateStep(
        module=model,
        criterion=lambda output, target: 0 * output * target,
        optimizer=optimizer,
        plan=plan(2.0),
        seed=3,
        tables=tables,
    )
    rng = torch.Generator().manual_seed(7)
    for _ in range(3):
        step((torch.randint(0, 800, (300, 6), generator=rng),), (torch.zeros(300).double(),))
    expected = 3 * (0.5 * 2.0 * 0.4 / 5.0) ** 2
    kept = [w for name, w in tables.weights().items() if name != "items.weight"]
    before = torch.cat([w.flatten() for w in kept]).square().mean().item()
    assert before < 0.7 * expected
    tables.flush()
    after = torch.cat([w.flatten() for w in tables.weights().values()])
    error = expected * math.sqrt(2 / len(after))
    assert abs(after.square().mean().item() - expected) < 6 * error


def test_declared_reads_equal_found_ones():
    def reads(ids):
        return {"users.weight": ids[:, 0], "items.weight": ids[:, 1:4], "tags.weight": ids[:, 4:]}

    found, _ = pair(noise_multiplier=1.0)
    declared, _ = pair(noise_multiplier=1.0, reads=reads)
    for batch in batches(4):
        found.step(batch)
        declared.step(batch)
    for name, p in found.model.state_dict().items():
        assert torch.equal(declared.model.state_dict()[name], p)


def test_rows_that_were_not_announced_are_refused():
    run, _ = pair(
        reads=lambda ids: {"users.weight": ids[:3, 0], "items.weight": ids[:, 1:4], "tags.weight": ids[:, 4:]}
    )
    with pytest.raises(ValueError, match="let reads"):
        run.step(batches(1)[0])


def test_killed_and_resumed_is_bit_identical():
    whole, _ = pair(noise_multiplier=1.0, weight_decay=0.1)
    first, _ = pair(noise_multiplier=1.0, weight_decay=0.1)
    data = batches(7)
    for batch in data:
        whole.step(batch)
    for batch in data[:4]:
        first.step(batch)
    weights = {name: p.detach().clone() for name, p in first.model.named_parameters()}
    saved = {
        "tables": first.tables.state_dict(),
        "optimizer": first.optimizer.state_dict(),
        "weights": weights,
    }
    assert all(isinstance(value, torch.Tensor) for value in saved["tables"].values())
    saved = copy.deepcopy(saved)
    second, _ = pair(noise_multiplier=1.0, weight_decay=0.1)
    with torch.no_grad():
        for name, p in second.model.named_parameters():
            p.copy_(saved["weights"][name])
    second.optimizer.load_state_dict(saved["optimizer"])
    second.tables.load_state_dict(saved["tables"])
    second.schedule.load_state_dict(first.schedule.state_dict())
    second.steps = 4
    for batch in data[4:]:
        second.step(batch)
    for name, p in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], p)


# ------------------------------------------------------------------ the law of what a flush leaves

WIDTH, PER_GROUP, STEPS = 4, 4000, 6
# Rows of one group are read at the same steps; rows of the last group never are.
READ_AT = {0: {0, 1, 2, 3, 4, 5}, 1: {0}, 2: {5}, 3: {1, 4}, 4: {3}, 5: set()}
LR = (0.5, 0.5, 0.2, 0.2, 0.1, 0.4)
STD = (1.0, 2.0, 0.0, 1.5, 1.0, 0.7)
FLUSH_AFTER = 3
# 6 variances, 6 covariances of two releases and 15 of two groups: a false alarm in 1.5e-5 of all seeds.
LIMIT = 5.0


class OneTable(nn.Module):
    def __init__(self, rows: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, width, sparse=True, dtype=dtype)
        nn.init.zeros_(self.table.weight)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids).sum((1, 2))


def rows_of(group: int) -> torch.Tensor:
    return torch.arange(group * PER_GROUP, (group + 1) * PER_GROUP)


def read_batch(ids: torch.Tensor) -> Batch:
    return Batch(inputs=(ids[None, :, None],), targets=(), mask=torch.ones(1, len(ids), dtype=torch.bool))


def noise_alone(
    weight_decay: float, *, flush: bool = True, seed: int = 11, owed: bool = False
) -> list[torch.Tensor]:
    """The table after step 3 and at the end, trained by noise alone: every entry is one sample."""
    model = OneTable(len(READ_AT) * PER_GROUP, WIDTH, torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=weight_decay)
    tables = DeferredTables(model, optimizer, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    released = []
    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = LR[t]
        ids = torch.cat([rows_of(g) for g, steps in READ_AT.items() if t in steps] or [torch.zeros(0).long()])
        (rows,) = tables.begin(read_batch(ids)).values()
        noise = STD[t] * torch.randn(rows.shape, generator=rng, dtype=torch.float64)
        tables.apply({"table.weight": 0 * noise if owed else noise}, STD[t], noise_owed=owed)
        if t + 1 in {FLUSH_AFTER, STEPS}:
            if flush:
                tables.flush()
            released.append(model.table.weight.detach().clone())
    return released


def dense_moments(weight_decay: float) -> tuple[float, float, float]:
    """Variance of an entry at the first release and at the second, and their covariance."""
    variance, first, covariance = 0.0, 0.0, 0.0
    for t in range(STEPS):
        factor = 1 - LR[t] * weight_decay
        variance = factor**2 * variance + (LR[t] * STD[t]) ** 2
        covariance *= factor
        if t + 1 == FLUSH_AFTER:
            first = covariance = variance
    return first, variance, covariance


def deviations(released: list[torch.Tensor], weight_decay: float) -> list[float]:
    """How far each moment is from the dense mechanism's, in standard errors."""
    first, last, covariance = dense_moments(weight_decay)
    count = PER_GROUP * WIDTH
    groups = [[part.flatten() for part in x.split(PER_GROUP)] for x in released]
    found = []
    for a, b in zip(*groups, strict=True):
        found.append((b.square().mean().item() - last) / (last * math.sqrt(2 / count)))
        error = math.sqrt((first * last + covariance**2) / count)
        found.append(((a * b).mean().item() - covariance) / error)
    for i, a in enumerate(groups[1]):
        for b in groups[1][:i]:
            found.append((a * b).mean().item() / (last / math.sqrt(count)))
    return found


@pytest.mark.parametrize("owed", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.8])
def test_releases_have_the_dense_law(weight_decay: float, owed: bool):
    found = deviations(noise_alone(weight_decay, owed=owed), weight_decay)
    assert len(found) == 27
    assert max(map(abs, found)) < LIMIT


@pytest.mark.parametrize("weight_decay", [0.0, 0.8])
def test_reading_without_settling_is_found(monkeypatch: pytest.MonkeyPatch, weight_decay: float):
    real = Pending.missing

    def nothing(self, rows):
        scale, std = real(self, rows)
        return (scale, std) if isinstance(rows, slice) else (torch.ones_like(scale), torch.zeros_like(std))

    monkeypatch.setattr(Pending, "missing", nothing)
    assert max(map(abs, deviations(noise_alone(weight_decay), weight_decay))) > 3 * LIMIT


def test_owed_noise_that_is_taken_for_paid_is_found(monkeypatch: pytest.MonkeyPatch):
    real = DeferredTables.apply
    monkeypatch.setattr(DeferredTables, "apply", lambda s, g, std, noise_owed: real(s, g, std))
    assert max(map(abs, deviations(noise_alone(0.0, owed=True), 0.0))) > 3 * LIMIT


def test_settling_twice_is_found(monkeypatch: pytest.MonkeyPatch):
    real = Pending.settle
    # Rows that a step has read keep the count that they had: their noise comes again at the flush.
    monkeypatch.setattr(
        Pending, "settle", lambda s, rows, **_: real(s, rows) if isinstance(rows, slice) else None
    )
    assert max(map(abs, deviations(noise_alone(0.0), 0.0))) > 3 * LIMIT


def test_a_forgotten_flush_is_found():
    assert max(map(abs, deviations(noise_alone(0.0, flush=False), 0.0))) > 3 * LIMIT


def test_one_stream_for_all_draws_is_found():
    """Noise that depends on the row alone, not on the step, repeats itself."""

    def repeated(*, purpose, step, like):
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(1), dtype=like.dtype)

    model = OneTable(PER_GROUP, WIDTH, torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    tables = DeferredTables(model, optimizer, seed=1, normals=repeated)
    for _ in range(2):
        rows = tables.begin(read_batch(torch.zeros(0).long()))
        tables.apply({name: torch.zeros_like(x) for name, x in rows.items()}, 1.0)
        tables.flush()
    variance = model.table.weight.detach().square().mean().item()
    assert abs(variance - 2) / (2 * math.sqrt(2 / (PER_GROUP * WIDTH))) > 3 * LIMIT


@pytest.mark.parametrize("weight_decay", [0.0, 0.8])
def test_every_draw_is_counted_once(weight_decay: float):
    """Each draw gets a coordinate of its own, so a row's squared length is the variance of its noise."""
    width = 2 * STEPS + 1
    one_row_a_group = len(READ_AT)

    def basis(*, purpose, step, like):
        axis = 2 * STEPS if purpose.startswith("flush") else STEPS + step
        rows = torch.zeros(len(like) // width, width, dtype=like.dtype)
        rows[:, axis] = 1.0
        return rows.flatten()

    model = OneTable(one_row_a_group, width, torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=weight_decay)
    tables = DeferredTables(model, optimizer, seed=0, normals=basis)
    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = LR[t]
        ids = torch.tensor([g for g, steps in READ_AT.items() if t in steps], dtype=torch.long)
        (rows,) = tables.begin(read_batch(ids))["table.weight"]
        own = torch.zeros(1, len(rows), width, dtype=torch.float64)
        own[..., t] = STD[t]
        tables.apply({"table.weight": own}, STD[t])
    tables.flush()
    variances = model.table.weight.detach().square().sum(1)
    _, expected, _ = dense_moments(weight_decay)
    torch.testing.assert_close(variances, torch.full_like(variances, expected), rtol=1e-12, atol=0)


# ------------------------------------------------------------------ what a step touches


class _Sizes(TorchDispatchMode):
    """The largest new tensor that any operation makes."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known, self.largest = known, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() not in self.known:
                self.largest = max(self.largest, x.numel())
        return out


def test_no_step_makes_anything_of_a_tables_size():
    torch.manual_seed(0)
    rows = 20_000
    run = Run(Recommender(rows=rows), noise_multiplier=1.0)
    data = [
        Batch(inputs=b.inputs, targets=tuple(t.float() for t in b.targets), mask=b.mask)
        for b in batches(3, rows=rows)
    ]
    run.step(data[0])
    known = {w.untyped_storage().data_ptr() for w in run.tables.weights().values()}
    known.add(run.tables._pending.settled.untyped_storage().data_ptr())
    with _Sizes(known) as sizes:
        for batch in data[1:]:
            run.step(batch)
    assert 0 < sizes.largest < 1000
    with _Sizes(known) as sizes:
        run.tables.flush()
    assert sizes.largest >= rows


# ------------------------------------------------------------------ when it flushes by itself


def after_one_step() -> Run:
    run, _ = pair(noise_multiplier=1.0)
    run.step(batches(1)[0])
    return run


def lacking(run: Run) -> bool:
    return run.tables._pending.steps > 0


@pytest.mark.parametrize(
    "release",
    [
        lambda run: run.model.state_dict(),
        lambda run: run.model(batches(1)[0].inputs[0][0]),
        lambda run: run.tables.flush(),
        lambda run: run.tables.close(),
    ],
    ids=["state_dict", "evaluation", "flush", "close"],
)
def test_releases_flush(release):
    run = after_one_step()
    before = run.model.users.weight.detach().clone()
    assert lacking(run)
    release(run)
    assert not lacking(run)
    assert bool((run.model.users.weight != before).any(1).sum() >= 20)
    after = run.model.users.weight.detach().clone()
    run.tables.flush()
    assert torch.equal(run.model.users.weight, after)


def test_closed_tables_leave_the_module_as_it_was():
    run = after_one_step()
    run.tables.close()
    assert not run.model._forward_pre_hooks
    assert not run.model._state_dict_pre_hooks
    for table in (run.model.users, run.model.items, run.model.tags):
        assert table.sparse
        assert not table._forward_pre_hooks
    assert run.model.items.padding_idx == 4


def test_a_copy_is_a_plain_module():
    run = after_one_step()
    twin = copy.deepcopy(run.model)
    assert twin.state_dict().keys() == run.model.state_dict().keys()


def test_strong_decay_flushes_in_time():
    model = OneTable(6, 2, torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=1 - 1e-6)
    tables = DeferredTables(model, optimizer, seed=0)
    for _ in range(40):
        rows = tables.begin(read_batch(torch.tensor([1])))
        tables.apply({name: torch.ones_like(x) for name, x in rows.items()}, 1.0)
    assert tables._pending.steps < 20
    tables.flush()
    assert bool(torch.isfinite(model.table.weight).all())
    assert 0.01 < model.table.weight.detach()[2:].std() < 100


# ------------------------------------------------------------------ refusals


def tied() -> nn.Module:
    model = nn.Sequential(nn.Embedding(6, 3, sparse=True), nn.Linear(3, 6, bias=False))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Embedding(6, 3, sparse=True, max_norm=1.0), "max_norm=1.0"),
        (lambda: nn.Embedding(6, 3, sparse=True, scale_grad_by_freq=True), "scale_grad_by_freq=True"),
        (lambda: nn.EmbeddingBag(6, 3, mode="max", sparse=True), "mode='max'"),
        (tied, "found its weight in '0', '1'"),
        (lambda: nn.Sequential(nn.Embedding(6, 3)), "sparse=True"),
        (lambda: nn.Embedding(6, 3, sparse=True, dtype=torch.bfloat16), "bfloat16"),
        (
            lambda: nn.ModuleList(
                nn.Embedding(6, 3, sparse=True, dtype=d) for d in (torch.float32, torch.float64)
            ),
            "0.weight: torch.float32 on cpu, 1.weight: torch.float64",
        ),
    ],
)
def test_unsuited_tables_are_refused(build, message: str):
    module = build()
    with pytest.raises(ValueError, match=message):
        DeferredTables(module, torch.optim.SGD(module.parameters(), lr=0.1), seed=0)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), "momentum=0.9"),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), "maximize=True"),
        (torch.optim.Adam, "found Adam"),
        (torch.optim.Adagrad, "found Adagrad"),
        (lambda p: torch.optim.SGD([{"params": p[:1]}, {"params": p[1:]}], lr=0.1), "groups \\[0, 1\\]"),
        (lambda p: torch.optim.SGD(p[:1], lr=0.1), "in none of its groups"),
    ],
)
def test_unsuited_optimisers_are_refused(optimizer, message: str):
    module = nn.ModuleList([nn.Embedding(6, 3, sparse=True), nn.Embedding(4, 3, sparse=True)])
    with pytest.raises(ValueError, match=message):
        DeferredTables(module, optimizer(list(module.parameters())), seed=0)


def test_momentum_set_later_is_refused():
    run = after_one_step()
    run.optimizer.param_groups[0]["momentum"] = 0.9
    with pytest.raises(ValueError, match=r"momentum=0\.9"):
        run.step(batches(1)[0])


class ReadsItsWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(30, 3, sparse=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids).sum((1, 2)) + self.table.weight.mean()


def test_a_weight_used_beside_its_table_is_refused():
    run = Run(ReadsItsWeight().double())
    with pytest.raises(UnsupportedModule, match=r"'table\.weight' in mean"):
        run.step(batches(1)[0])


def test_a_gradient_of_the_table_is_refused():
    run = after_one_step()
    run.model.users.weight.grad = torch.zeros_like(run.model.users.weight)
    with pytest.raises(ValueError, match=r"'users\.weight'"):
        run.step(batches(1)[0])


def test_steps_out_of_order_are_refused():
    run = after_one_step()
    with pytest.raises(ValueError, match="begin\\(batch\\)"):
        run.tables.apply({}, 1.0)
    with pytest.raises(ValueError, match="begin\\(batch\\)"), run.tables.reading():
        pass


def test_a_table_among_the_dense_parameters_is_refused():
    run = after_one_step()
    with pytest.raises(ValueError, match=r"users\.weight"):
        private_step(
            tables=run.tables,
            plan=run.plan,
            engine=run.engine,
            loss=PerExampleLoss(module=run.model, criterion=squared),
            params={name: p[None] for name, p in trainable_parameters(run.model).items()},
            batch=batches(1)[0],
            state=run.state,
            streams=run.streams.at(0),
        )
