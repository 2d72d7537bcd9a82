"""Every engine against every odd module: equal to the loop, or refused, as the table says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from clifftop.flow import PerExampleGrads
from clifftop.gradients.base import GradientEngine, UnsupportedModule
from clifftop.gradients.graph import GraphEngine
from clifftop.gradients.instantiated import InstantiatedGrads
from clifftop.gradients.loop import LoopEngine
from clifftop.gradients.tape import TapeEngine
from clifftop.gradients.vmap import VmapEngine
from clifftop.testing.gradients import Outcome, check_engine, check_refuses
from clifftop.testing.problem import Problem
from clifftop.testing.problems import BATCH_DEPENDENT, PROBLEMS, REFUSED

ENGINES: dict[str, Callable[[], GradientEngine]] = {
    "loop": LoopEngine,
    "vmap": VmapEngine,
    "vmap in chunks": lambda: VmapEngine(chunk_size=2),
    "tape": TapeEngine,
    "graph": GraphEngine,
}

# How many rows a layer sees depends on the data: the tape refuses, and so does torch.func.
SELECTED = {"selected rows", "selected tokens", "packed sequences"}
# A layer sees the examples in another order, several times, or one at a time.
MOVED = {
    "rows rolled and back", "rows reversed and back", "rows sorted and back", "halves swapped and back",
    "two views", "two views side by side", "augmented copies", "tiled copies", "two views of an image",
    "merged by time", "merged axes around a stack", "frames merged with examples",
    "one by one", "one by one without their axis",
}  # fmt: skip
VMAP_CANNOT = {
    "old custom function", "checkpoint", "checkpointed twice", "sparse embedding", "one-hot product",
} | SELECTED  # fmt: skip
TAPE_CANNOT_ALONE = {
    "merged axes", "child weight", "parameter list", "embedding by frequency", "sparse embedding",
    "position embedding", "dropout in a transformer layer", "nested functional call", "checkpointed twice",
    "one-hot product", "lstm cells",
} | MOVED | SELECTED  # fmt: skip
TAPE_CANNOT_MAP_OVER_RUNS = {
    "old custom function", "checkpoint", "lstm", "lstm bidirectional", "gru", "rnn tanh", "rnn relu",
    "lstm projected", "lstm stacked", "gru bidirectional", "lstm twice", "lstm from a learned state",
}  # fmt: skip

# Who refuses what, by engine and number of runs; every other problem must come out equal.
COLUMNS: dict[tuple[str, int], set[str]] = {
    ("loop", 1): set(),
    ("vmap", 3): VMAP_CANNOT,
    ("tape", 1): TAPE_CANNOT_ALONE,
    ("tape", 3): TAPE_CANNOT_ALONE | TAPE_CANNOT_MAP_OVER_RUNS,
    # Where its own plan does not fit, another engine takes over.
    ("graph", 1): SELECTED,
}


def named(problems: tuple[Problem, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("problem", problems, ids=lambda p: p.name)


# The loop is the truth of the others, functional transforms are PyTorch's own, and the tape does on one run
# what it does on three: every so many from a first on, so that the tape has each once, and all they refuse.
SPARSE = {("loop", 1): (0, 3), ("vmap", 3): (0, 3), ("tape", 1): (1, 2), ("tape", 3): (0, 2)}
TABLE = [
    pytest.param(*column, problem, id=f"{column[0]}-{column[1]}-{problem.name}")
    for column, refused in COLUMNS.items()
    for first, step in [SPARSE.get(column, (0, 1))]
    for place, problem in enumerate(PROBLEMS)
    if place % step == first or problem.name in refused
]


@pytest.mark.parametrize(("engine", "num_runs", "problem"), TABLE)
def test_equal_or_refused_as_the_table_says(engine: str, num_runs: int, problem: Problem):
    refused = problem.name in COLUMNS[engine, num_runs]
    found = check_engine(ENGINES[engine](), problem, num_runs=num_runs)
    assert found is (Outcome.REFUSED if refused else Outcome.EQUAL)


@named(PROBLEMS[::5])
def test_chunks_change_nothing(problem: Problem):
    refused = problem.name in VMAP_CANNOT
    found = check_engine(ENGINES["vmap in chunks"](), problem, num_runs=2)
    assert found is (Outcome.REFUSED if refused else Outcome.EQUAL)


@named(PROBLEMS[::5])
def test_the_graph_engine_takes_several_runs_one_by_one(problem: Problem):
    refused = problem.name in SELECTED
    found = check_engine(GraphEngine(), problem, num_runs=2)
    assert found is (Outcome.REFUSED if refused else Outcome.EQUAL)


@named(REFUSED)
@pytest.mark.parametrize("engine", ENGINES)
def test_refused_by_all(engine: str, problem: Problem):
    check_refuses(ENGINES[engine](), problem)


@named(BATCH_DEPENDENT)
def test_mixed_batches_are_noticed_where_batches_are_evaluated(problem: Problem):
    """Tape and graph evaluate whole batches and must refuse; the loop sees one example and cannot."""
    check_refuses(TapeEngine(), problem)
    check_refuses(GraphEngine(), problem)
    with pytest.raises(AssertionError, match="must refuse"):
        check_refuses(LoopEngine(), problem)


def test_the_table_names_real_problems():
    names = [p.name for p in (*PROBLEMS, *REFUSED, *BATCH_DEPENDENT)]
    assert len(names) == len(set(names))
    assert len(PROBLEMS) >= 200
    for refused in COLUMNS.values():
        assert refused <= set(names)


# ---------------------------------------------------------------- negative controls: broken engines


@dataclass(frozen=True)
class Altered:
    """The loop, spoilt by a function of its arguments and its result."""

    spoil: Callable[..., PerExampleGrads]

    def __call__(self, loss, params, batch, groups, draws=None):
        return self.spoil(LoopEngine()(loss, params, batch, groups, draws), loss, params, batch)


@dataclass(frozen=True)
class Summing:
    """Wraps gradients with another weighted sum."""

    inner: InstantiatedGrads
    total: Callable[..., dict[str, torch.Tensor]]

    @property
    def losses(self):
        return self.inner.losses

    def sq_norms(self):
        return self.inner.sq_norms()

    def weighted_sum(self, weights):
        return self.total(self.inner, weights)


def scaled_rows(grads, loss, params, batch):
    return replace(grads, rows={n: row * (1 + 1e-8) for n, row in grads.rows.items()})


def shuffled_examples(grads, loss, params, batch):
    return replace(grads, rows={n: row.roll(1, dims=1) for n, row in grads.rows.items()})


def runs_mixed_up(grads, loss, params, batch):
    return replace(grads, rows={n: row.flip(0) for n, row in grads.rows.items()})


def forgets_a_parameter(grads, loss, params, batch):
    return replace(grads, rows=dict(list(grads.rows.items())[1:]))


def multiplies_by_zero(grads, loss, params, batch):
    def total(inner, weights):
        return {
            n: torch.einsum("rb,rb...->r...", weights[..., inner.groups[n]], row)
            for n, row in inner.rows.items()
        }

    return Summing(grads, total)


def counts_padding(grads, loss, params, batch):
    return replace(grads, losses=grads.losses.masked_fill(~batch.mask, 1.0))


def mean_instead_of_sum(grads, loss, params, batch):
    def total(inner, weights):
        return {n: s / batch.padded_size for n, s in inner.weighted_sum(weights).items()}

    return Summing(grads, total)


def keeps_a_graph(grads, loss, params, batch):
    return replace(grads, losses=grads.losses.clone().requires_grad_())


def rounds_to_float32(grads, loss, params, batch):
    return replace(grads, rows={n: row.float().double() for n, row in grads.rows.items()})


def leaves_a_hook(grads, loss, params, batch):
    loss.module.register_forward_hook(lambda *args: None)
    return grads


def leaves_an_attribute(grads, loss, params, batch):
    next(loss.module.parameters()).per_example = 1
    return grads


def leaves_a_gradient(grads, loss, params, batch):
    p = next(loss.module.parameters())
    p.grad = torch.zeros_like(p)
    return grads


def switches_to_eval(grads, loss, params, batch):
    loss.module.eval()
    return grads


def draws_from_the_global_generator(grads, loss, params, batch):
    torch.rand(1)
    return grads


def writes_into_a_parameter(grads, loss, params, batch):
    next(iter(params.values())).mul_(1.5)
    return grads


def replaces_a_parameter(grads, loss, params, batch):
    loss.module[0].weight = torch.nn.Parameter(loss.module[0].weight.detach().clone())
    return grads


BROKEN = (
    scaled_rows, shuffled_examples, runs_mixed_up, forgets_a_parameter, multiplies_by_zero, counts_padding,
    mean_instead_of_sum, keeps_a_graph, rounds_to_float32, leaves_a_hook, leaves_an_attribute,
    leaves_a_gradient, switches_to_eval, draws_from_the_global_generator, writes_into_a_parameter,
    replaces_a_parameter,
)  # fmt: skip
MLP = next(p for p in PROBLEMS if p.name == "mlp")


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda f: f.__name__)
def test_the_suite_catches(spoil):
    with pytest.raises(AssertionError):
        check_engine(Altered(spoil), MLP)


@pytest.mark.parametrize(
    "message", ["it did not work", "'0' cannot be done", "Sequential failed; use another engine"]
)
def test_the_suite_wants_helpful_refusals(message: str):
    def refuse(*args):
        raise UnsupportedModule(message)

    with pytest.raises(AssertionError, match="a refusal must name"):
        check_engine(refuse, MLP)


def test_the_suite_accepts_a_helpful_refusal():
    def refuse(*args):
        raise UnsupportedModule("found '0' (Linear), use LoopEngine()")

    assert check_engine(refuse, MLP) is Outcome.REFUSED
