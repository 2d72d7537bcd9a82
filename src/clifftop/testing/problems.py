"""Odd modules as named problems: what a gradient engine must get right, or refuse by name.

`PROBLEMS` have exact per-example gradients. `REFUSED` have none that any engine may give.
`BATCH_DEPENDENT` mix examples in ways that no list of layers shows; an engine that evaluates a
whole batch must notice, and one that evaluates each example alone cannot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from clifftop.testing import mixing_modules as mixing
from clifftop.testing import odd_modules as odd
from clifftop.testing import odd_sequences as sequences
from clifftop.testing.odd_attention import SEQUENCE_PROBLEMS
from clifftop.testing.odd_calls import CALL_PROBLEMS
from clifftop.testing.odd_layers import LAYER_PROBLEMS
from clifftop.testing.odd_parameters import PARAMETER_PROBLEMS
from clifftop.testing.problem import (
    Problem,
    classes,
    contrastive,
    floats,
    gaussian_nll,
    image,
    language,
    mean_over_batch,
    mean_target,
    regression,
    squared_error,
    tokens,
)


def _floats_and_tokens(rng: torch.Generator, size: int) -> tuple[Tensor, ...]:
    return floats((5,))(rng, size) + tokens(6)(rng, size)


_LINEAR = (
    classes(
        "mlp",
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
        floats((4,)),
    ),
    classes(
        "no bias",
        lambda: nn.Sequential(nn.Linear(4, 6, bias=False), nn.Sigmoid(), nn.Linear(6, 3, bias=False)),
        floats((4,)),
    ),
    regression(
        "linear on three axes",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 2)),
        (3, 4),
        (3, 2),
    ),
    regression(
        "linear on four axes",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.SiLU(), nn.Linear(5, 2)),
        (2, 3, 4),
        (2, 3, 2),
    ),
    regression("merged axes", sequences.MergedAxes, (3, 4), (3, 3)),
    regression(
        "sequence first",
        lambda: sequences.Transposed(
            nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 3))
        ),
        (3, 4),
        (3, 3),
    ),
    regression("leaf twice", odd.LeafTwice, (4,), (5,)),
    regression("tied linear pair", odd.TiedPair, (4,), (4,)),
    regression("child weight", odd.ChildWeight, (4,), (4,)),
    regression("frozen branch", odd.FrozenBranch, (4,), (3,)),
    regression("bias only", odd.BiasOnly, (4,), (3,)),
    regression("forgotten layers", odd.Forgotten, (4,), (3,)),
    regression("detached features", odd.DetachedFeatures, (4,), (3,)),
    regression("keyword leaf", odd.KeywordLeaf, (4,), (4,)),
    regression(
        "nested residual",
        lambda: nn.Sequential(
            nn.Linear(4, 5),
            odd.Residual(nn.Sequential(nn.Linear(5, 5), nn.Tanh(), odd.Residual(nn.Linear(5, 5)))),
            nn.Sequential(nn.Sequential(nn.LeakyReLU(), nn.Linear(5, 3))),
        ),
        (4,),
        (3,),
    ),
    regression(
        "in-place ReLU",
        lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)),
        (4,),
        (3,),
    ),
    regression("in place after a leaf", odd.InPlaceAfterLeaf, (4,), (3,)),
    regression("prelu", lambda: nn.Sequential(nn.Linear(4, 5), nn.PReLU(5), nn.Linear(5, 3)), (4,), (3,)),
    regression("counting buffer", odd.CountingBuffer, (4,), (3,)),
)

_PARAMETERS = (
    regression("class token", sequences.ClassToken, (3, 4), (4,)),
    regression("learned scale", odd.LearnedScale, (4,), (3,)),
    regression("einsum parameter", sequences.EinsumParameter, (3, 4), (3, 2, 3)),
    regression("parameter list", odd.Polynomial, (4,), (4,)),
    regression("low-rank adapter", odd.LowRankAdapter, (5,), (4,)),
    regression(
        "weight norm",
        lambda: nn.Sequential(weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)),
        (4,),
        (3,),
    ),
    regression("old custom function", lambda: odd.CustomFunction(new_style=False), (4,), (3,)),
    regression("new custom function", lambda: odd.CustomFunction(new_style=True), (4,), (3,)),
    regression("checkpoint", odd.Checkpointed, (4,), (3,)),
)

_TOKENS = (
    classes(
        "embedding",
        lambda: nn.Sequential(nn.Embedding(6, 4, padding_idx=0), sequences.Mean(1), nn.Linear(4, 3)),
        tokens(6, 4),
    ),
    classes(
        "embedding by frequency",
        lambda: nn.Sequential(
            nn.Embedding(3, 4, scale_grad_by_freq=True), sequences.Mean(1), nn.Linear(4, 3)
        ),
        tokens(3, 5),
    ),
    classes(
        "sparse embedding",
        lambda: nn.Sequential(nn.Embedding(6, 4, sparse=True), sequences.Mean(1), nn.Linear(4, 3)),
        tokens(6, 4),
    ),
    classes("embedding bag", sequences.Bag, tokens(6, 4)),
    language("tied embedding and head", sequences.TiedLanguageModel),
    language("position embedding", sequences.Positions),
)

_SEVERAL = (
    Problem(
        name="two inputs",
        build=odd.TwoInputs,
        inputs=_floats_and_tokens,
        targets=floats((3,)),
        criterion=squared_error,
    ),
    Problem(
        name="bilinear",
        build=odd.BilinearPair,
        inputs=floats((3,), (4,)),
        targets=floats((2,)),
        criterion=squared_error,
    ),
    Problem(
        name="two outputs",
        build=odd.TwoOutputs,
        inputs=floats((4,)),
        targets=floats((2,)),
        criterion=gaussian_nll,
    ),
)

_SEQUENCES = (
    regression("attention", lambda: sequences.Attention(batch_first=True), (3, 4), (3, 4)),
    regression(
        "attention sequence first",
        lambda: sequences.Attention(batch_first=False, need_weights=False),
        (3, 4),
        (3, 4),
    ),
    regression("causal block", sequences.CausalBlock, (3, 4), (3, 4)),
    regression(
        "transformer layer",
        lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True),
        (3, 4),
        (3, 4),
    ),
    regression(
        "transformer layer in eval mode",
        lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True),
        (3, 4),
        (3, 4),
        training=False,
    ),
    regression("lstm", lambda: sequences.Recurrent(nn.LSTM(3, 4, batch_first=True)), (3, 3), (3, 4)),
    regression(
        "lstm bidirectional",
        lambda: sequences.Recurrent(nn.LSTM(3, 2, num_layers=2, bidirectional=True), sequence_first=True),
        (3, 3),
        (3, 4),
    ),
    regression("gru", lambda: sequences.Recurrent(nn.GRU(3, 4, batch_first=True)), (3, 3), (3, 4)),
)

_DROPOUTS = (
    regression(
        "dropout",
        lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3)),
        (4,),
        (3,),
    ),
    regression(
        "dropout sequence first",
        lambda: sequences.Transposed(
            nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 4))
        ),
        (3, 4),
        (3, 4),
    ),
    regression(
        "dropout in place",
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.4, inplace=True), nn.Linear(8, 3)),
        (4,),
        (3,),
    ),
    image(
        "dropout of channels",
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Dropout2d(0.4), nn.Conv2d(4, 2, 2)),
    ),
    regression("dropout in attention", lambda: sequences.CausalBlock(0.3), (3, 4), (3, 4)),
    regression(
        "dropout in a transformer layer",
        lambda: nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2, batch_first=True),
        (3, 4),
        (3, 4),
    ),
    regression(
        "dropout in eval mode",
        lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.4), nn.Linear(8, 3)),
        (4,),
        (3,),
        training=False,
    ),
)

PROBLEMS: tuple[Problem, ...] = (
    *_LINEAR,
    *_PARAMETERS,
    *LAYER_PROBLEMS,
    *_TOKENS,
    *_SEVERAL,
    *_SEQUENCES,
    *_DROPOUTS,
    *PARAMETER_PROBLEMS,
    *CALL_PROBLEMS,
    *SEQUENCE_PROBLEMS,
)
"""Problems with exact per-example gradients."""

REFUSED: tuple[Problem, ...] = (
    regression(
        "batch norm 1d",
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)),
        (4,),
        (3,),
    ),
    image("batch norm 2d", lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))),
    regression(
        "batch norm without running statistics",
        lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)),
        (4,),
        (3,),
        training=False,
    ),
    image(
        "instance norm with running statistics",
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.InstanceNorm2d(3, track_running_stats=True)),
    ),
    regression("noise in the forward pass", mixing.NoisyForward, (4,), (3,)),
    regression("noise in eval mode", mixing.NoisyForward, (4,), (3,), training=False),
    regression(
        "dropout between recurrent layers",
        lambda: sequences.Recurrent(nn.GRU(3, 4, num_layers=2, dropout=0.5, batch_first=True)),
        (3, 3),
        (3, 4),
    ),
    regression("alpha dropout", lambda: nn.Sequential(nn.Linear(4, 3), nn.AlphaDropout(0.5)), (4,), (3,)),
    classes(
        "embedding with max_norm",
        lambda: nn.Sequential(nn.Embedding(6, 4, max_norm=0.5), sequences.Mean(1), nn.Linear(4, 3)),
        tokens(6, 4),
    ),
    regression(
        "dropout of averaged attention",
        lambda: sequences.Attention(batch_first=True, dropout=0.2),
        (3, 4),
        (3, 4),
    ),
    regression("dropout on merged axes", lambda: sequences.MergedAxes(0.5), (3, 4), (3, 3)),
    regression("dropout in a checkpoint", lambda: odd.Checkpointed(0.5), (4,), (3,)),
    regression("reentrant checkpoint", lambda: odd.Checkpointed(reentrant=True), (4,), (3,)),
)
"""Problems that every engine must refuse: shared statistics, draws from no named stream, a hidden graph."""

BATCH_DEPENDENT: tuple[Problem, ...] = (
    regression("batch mean subtracted", mixing.Standardised, (4,), (3,)),
    regression("attention over the batch", mixing.AttentionOverBatch, (4,), (4,)),
    classes("functional batch norm", mixing.FunctionalBatchNorm, floats((1, 6, 6))),
    regression("divided by the batch size", mixing.DividedByBatchSize, (4,), (3,)),
    regression("standardised by hand", mixing.HandStandardised, (4,), (3,)),
    regression("softmax over the batch", mixing.SoftmaxOverBatch, (4,), (3,)),
    regression("sorted over the batch", mixing.Ranked, (4,), (3,)),
    regression("attention across examples", mixing.AttentionAcrossExamples, (3, 4), (3, 4)),
    regression("mixed with a neighbour", mixing.NeighbourMixed, (4,), (3,)),
    regression("running sum over the batch", mixing.CumulativeState, (4,), (3,)),
    regression("recurrence over the batch", mixing.RecurrentOverBatch, (3, 4), (3, 6)),
    regression("scaled by the batch's largest", mixing.HardestExample, (4,), (3,)),
    Problem(
        name="contrastive loss",
        build=lambda: nn.Linear(4, 3),
        inputs=floats((4,)),
        targets=floats((3,)),
        criterion=contrastive,
    ),
    Problem(
        name="mean over the batch",
        build=lambda: nn.Linear(4, 3),
        inputs=floats((4,)),
        targets=floats((3,)),
        criterion=mean_over_batch,
    ),
    Problem(
        name="mean of all targets",
        build=lambda: nn.Linear(4, 3),
        inputs=floats((4,)),
        targets=floats((3,)),
        criterion=mean_target,
    ),
)
"""Problems whose examples affect each other: an engine that evaluates whole batches must refuse."""
