"""Every engine on small real models: equal to the loop, parameter by parameter, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from clifftop.flow import PerExampleGrads
from clifftop.gradients import GradientEngine, LoopEngine, TapeEngine, VmapEngine
from clifftop.gradients.graph import GraphEngine
from clifftop.testing.gradients import Case, Outcome, check_engine, make_case
from clifftop.testing.problem import Problem
from clifftop.testing.real_models import (
    DLRM,
    GPT,
    REAL_MODELS,
    CharRNN,
    ConvNeXt,
    EinsumMixture,
    GatedEncoder,
    GRUClassifier,
    LSTMTagger,
    MLPMixer,
    ResNet,
    Swin,
    TextCNN,
    UNet,
    ViT,
    WideResNet,
    lora_mlp,
)

TOLERANCE = 1e-9
"""Largest difference from the loop, relative to the largest entry of the same parameter."""

ENGINES: dict[str, Callable[[], GradientEngine]] = {
    "loop": LoopEngine,
    "vmap": VmapEngine,
    "tape": TapeEngine,
    "graph": GraphEngine,
}

# Position tables have no axis of examples, and the tape sees leaves only.
REFUSED: dict[str, set[str]] = {
    "loop": set(),
    "vmap": set(),
    "tape": {"gpt", "gpt tied", "gated encoder"},
    "graph": set(),
}

# Structural zeros: a constant added to every channel of a token, which each later norm removes.
ALWAYS_ZERO = {"mlp-mixer": {"blocks.0.over_tokens.2.bias", "blocks.1.over_tokens.2.bias"}}

models = pytest.mark.parametrize("problem", REAL_MODELS, ids=lambda p: p.name)


@models
@pytest.mark.parametrize("engine", ENGINES)
def test_equal_or_refused_as_the_table_says(engine: str, problem: Problem):
    found = check_engine(ENGINES[engine](), problem, num_runs=1, batch_size=3)
    assert found is (Outcome.REFUSED if problem.name in REFUSED[engine] else Outcome.EQUAL)


@models
@pytest.mark.parametrize("engine", ["vmap", "tape", "graph"])
def test_small_gradients_beside_large_ones_are_right_too(engine: str, problem: Problem):
    if problem.name not in REFUSED[engine]:
        require_equal_each(ENGINES[engine](), make_case(problem, num_runs=1, batch_size=4, seed=1))


@models
def test_every_parameter_of_a_real_model_matters(problem: Problem):
    """A parameter without gradient would hide an engine that forgets it."""
    case = make_case(problem, num_runs=1, batch_size=4)
    rows = case.gradients(LoopEngine()).rows
    largest = max(float(row.abs().max()) for row in rows.values())
    unused = {name for name, row in rows.items() if float(row.abs().max()) < 1e-12 * largest}
    assert unused == ALWAYS_ZERO.get(problem.name, set())


def require_equal_each(engine: GradientEngine, case: Case) -> None:
    """Norms and weighted sums equal the loop's, each parameter measured by its own size."""
    names = list(case.params)
    groups = {name: i for i, name in enumerate(names)}
    truth, found = case.gradients(LoopEngine(), groups), case.gradients(engine, groups)
    weights = torch.linspace(-1, 2, case.batch.padded_size, dtype=torch.float64)
    weights = weights.reshape(1, -1, 1).expand(case.batch.num_runs, -1, len(names))
    expected, total = truth.weighted_sum(weights), found.weighted_sum(weights)
    norms, all_norms = found.sq_norms(), truth.sq_norms()
    floor = 1e-12 * float(all_norms.max().sqrt())
    for i, name in enumerate(names):
        largest = float(truth.rows[name].abs().max())
        gap = float((total[name] - expected[name]).abs().max())
        assert gap <= TOLERANCE * largest + floor, (name, gap, largest)
        size = all_norms[..., i].sqrt()
        norm_gap = (norms[..., i].sqrt() - size).abs()
        assert bool((norm_gap <= TOLERANCE * float(size.max()) + floor).all()), (name, norm_gap, size)


@dataclass(frozen=True)
class SpoilsOneParameter:
    """The loop, but the parameter with the smallest gradient is a little too long."""

    def __call__(self, loss, params, batch, groups, draws=None) -> PerExampleGrads:
        grads = LoopEngine()(loss, params, batch, groups, draws)
        smallest = min(grads.rows, key=lambda name: float(grads.rows[name].abs().max()))
        return replace(grads, rows=grads.rows | {smallest: grads.rows[smallest] * (1 + 1e-7)})


def test_a_spoilt_parameter_is_found_however_small():
    problem = next(p for p in REAL_MODELS if p.name == "resnet-20")
    case = make_case(problem, num_runs=1, batch_size=4, seed=1)
    require_equal_each(LoopEngine(), case)
    with pytest.raises(AssertionError):
        require_equal_each(SpoilsOneParameter(), case)


PHOTO, LARGE_PHOTO, TEXT = (2, 3, 32, 32), (2, 3, 224, 224), (2, 64)
FULL_SIZE = {
    "resnet-20": (ResNet, [PHOTO], (2, 10)),
    "wrn-16-4": (WideResNet, [PHOTO], (2, 10)),
    "u-net": (UNet, [(2, 3, 64, 64)], (2, 2, 64, 64)),
    "convnext": (ConvNeXt, [LARGE_PHOTO], (2, 1000)),
    "vit": (ViT, [LARGE_PHOTO], (2, 1000)),
    "swin": (Swin, [LARGE_PHOTO], (2, 1000)),
    "mlp-mixer": (MLPMixer, [LARGE_PHOTO], (2, 1000)),
    "gpt": (lambda: GPT(tied=False), [TEXT], (2, 64, 50257)),
    "gpt tied": (GPT, [TEXT], (2, 64, 50257)),
    "gated encoder": (GatedEncoder, [TEXT], (2, 64, 32128)),
    "lstm tagger": (LSTMTagger, [TEXT], (2, 64, 17)),
    "char-rnn": (CharRNN, [TEXT], (2, 64, 100)),
    "text cnn": (TextCNN, [TEXT], (2, 2)),
    "gru classifier": (GRUClassifier, [(2, 64, 32)], (2, 10)),
    "einsum mixture": (EinsumMixture, [(2, 64, 256)], (2, 64, 256)),
    "dlrm": (DLRM, [(2, 13), (2, 4, 5)], (2,)),
    "lora": (lora_mlp, [(2, 784)], (2, 10)),
    "lora merged": (lambda: lora_mlp(merged=True), [(2, 784)], (2, 10)),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_the_real_sizes_can_be_built(name: str):
    build, shapes, output = FULL_SIZE[name]
    problem = next(p for p in REAL_MODELS if p.name == name)
    sample = problem.inputs(torch.Generator().manual_seed(0), 1)
    with torch.device("meta"):
        dtypes = [torch.float32 if x.is_floating_point() else torch.int64 for x in sample]
        inputs = [torch.zeros(shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        assert build()(*inputs).shape == output
