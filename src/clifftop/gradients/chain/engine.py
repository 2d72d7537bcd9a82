"""The engine for chains of common layers: its own kernels, run by run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from clifftop.criteria import cross_entropy
from clifftop.flow import Batch, DrawStream, GroupMap, Params, PerExampleGrads
from clifftop.gradients.base import (
    GradientEngine,
    PerExampleLoss,
    UnsupportedModule,
    model_signature,
    refuse_unprotectable,
)
from clifftop.gradients.chain.compile import Chain, chain_of
from clifftop.gradients.chain.grads import ChainGrads
from clifftop.gradients.chain.stages import Shared
from clifftop.gradients.graph.runs import Run, join_runs, single_runs
from clifftop.gradients.instantiated import no_examples, without_padding
from clifftop.gradients.randomness import first_examples
from clifftop.gradients.tape import TapeEngine


@final
@dataclass(frozen=True)
class ChainEngine:
    """Exact per-example norms and sums of a ``nn.Sequential`` of common layers, run by run.

    Convolutions are products with patches, channels are last in memory, and what is made of a batch
    alone is made once for all runs that share it: for small convolutional networks on a processor this
    is two to three times as quick as PyTorch's own layers. The first call on a model compares norms and
    sums of three examples with those of the other engine, which also refuses what no engine can make
    private. Whatever is no such chain, is not in float32 or float64 on a processor, or takes other
    inputs than one tensor goes to the other engine.

    Attributes:
        otherwise: the other engine.

    Raises:
        UnsupportedModule: from the other engine, or where the two do not agree.
    """

    otherwise: GradientEngine = field(default_factory=TapeEngine)

    _chains: WeakKeyDictionary[nn.Module, dict[object, Chain | None]] = field(
        default_factory=WeakKeyDictionary, init=False, repr=False, compare=False
    )
    _shared: Shared = field(default_factory=Shared, init=False, repr=False, compare=False)

    def __call__(
        self,
        loss: PerExampleLoss,
        params: Params,
        batch: Batch,
        groups: GroupMap,
        draws: DrawStream | None = None,
    ) -> PerExampleGrads:
        """Per-example gradients at ``params`` on ``batch``; ``draws`` feeds dropout."""
        filled = without_padding(batch)
        if filled is None:
            return no_examples(params, batch, groups)
        chain = self.chain(loss, params, filled)
        if chain is None:
            return self.otherwise(loss, params, batch, groups, draws)
        runs = single_runs(loss, params, filled, ())
        return join_runs([self.one_run(chain, run, groups) for run in runs])

    def one_run(self, chain: Chain, run: Run, groups: GroupMap) -> ChainGrads:
        """The gradients of one run, whose batch holds an example in every row, padding included."""
        return _one_run(chain, run, groups, self._shared)

    def chain(self, loss: PerExampleLoss, params: Params, batch: Batch) -> Chain | None:
        """The model's chain, compared with the other engine once; None where that takes over."""
        known = self._chains.setdefault(loss.module, {})
        key = model_signature(loss, params, batch)
        if key not in known:
            refuse_unprotectable(loss.module)
            suited = loss.arguments is None and suits(params, loss.constants, batch.inputs)
            chain = chain_of(loss.module) if suited else None
            if chain is not None:
                _require_agreement(chain, self.otherwise, loss, params, batch)
            known[key] = chain
        return known[key]


def suits(params: Params, constants: Params, inputs: Sequence[Tensor]) -> bool:
    """Whether a chain's kernels are for these tensors: one input, all in one precision on a processor."""
    tensors = [*params.values(), *constants.values(), *inputs]
    plain = all(x.device.type == "cpu" and x.dtype == tensors[0].dtype for x in tensors)
    return plain and len(inputs) == 1 and tensors[0].dtype in (torch.float32, torch.float64)


def _one_run(chain: Chain, run: Run, groups: GroupMap, shared: Shared) -> ChainGrads:
    loss, params, mask = run.loss, run.params, run.batch.mask
    x = run.batch.inputs[0][0]
    shared.begin(x)
    tensors = {name: v[0] for name, v in (*params.items(), *loss.constants.items())}
    with torch.no_grad():
        output, pulls = chain.forward(x, tensors, shared)
    losses, g = _loss_gradient(loss, output, [y[0] for y in run.batch.targets])
    with torch.no_grad():
        parts = chain.parts(pulls, g)
    return ChainGrads(
        losses=torch.where(mask, losses[None], 0),
        mask=mask,
        parts={name: parts[name] for name in params},
        restored=chain.restored,
        groups=groups,
    )


def _loss_gradient(loss: PerExampleLoss, output: Tensor, targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Losses ``(B,)``, and the gradient of each at its own output."""
    if loss.criterion is cross_entropy and output.dim() == 2:
        return _cross_entropy_gradient(output, targets[0])
    live = output.detach().requires_grad_()
    with torch.enable_grad():
        losses = loss.criterion(live, *targets)
        if losses.shape != live.shape[:1]:
            raise ValueError(
                f"the criterion must return one loss an example, shape ({len(live)},), found "
                f"{tuple(losses.shape)}; use reduction='none' and average over any other axis"
            )
        if not losses.requires_grad:
            return losses, torch.zeros_like(output)
        (g,) = torch.autograd.grad([losses.sum()], [live])
    return losses.detach(), g


def _cross_entropy_gradient(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """What autograd finds for `clifftop.criteria.cross_entropy`, in five operations."""
    total = torch.logsumexp(logits, dim=-1, keepdim=True)
    place = targets.unsqueeze(-1)
    losses = (total - logits.gather(-1, place)).squeeze(-1)
    g = (logits - total).exp_()
    return losses, g.scatter_add_(-1, place, g.new_full((1, 1), -1.0).expand(place.shape))


def _require_agreement(
    chain: Chain, other: GradientEngine, loss: PerExampleLoss, params: Params, batch: Batch
) -> None:
    """Compare norms and a sum on three examples of the first run with those of the other engine."""
    inputs, targets = first_examples(batch, 3)
    few = Batch(
        inputs=tuple(x[None] for x in inputs),
        targets=tuple(y[None] for y in targets),
        mask=torch.ones(1, 3, dtype=torch.bool),
    )
    alone = replace(loss, constants={name: c[:1] for name, c in loss.constants.items()})
    one = {name: p[:1] for name, p in params.items()}
    groups = {name: i for i, name in enumerate(params)}
    own = _one_run(chain, Run(loss=alone, params=one, batch=few, uniforms=()), groups, Shared())
    others = other(alone, one, few, groups)
    weights = few.inputs[0].new_tensor([0.75, -1.5, 2.25])[None, :, None].expand(1, 3, len(groups))
    mine, theirs = own.weighted_sum(weights), others.weighted_sum(weights)
    norms, their_norms = own.sq_norms(), others.sq_norms()
    tolerance = 1e-8 if norms.dtype == torch.float64 else 1e-3
    for i, name in enumerate(params):
        pairs = ((mine[name], theirs[name]), (norms[..., i], their_norms[..., i]))
        for found, wanted in pairs:
            gap, size = (found - wanted).norm(), wanted.norm()
            if torch.isfinite(size) and not gap <= tolerance * (size + tolerance):
                raise UnsupportedModule(
                    f"a chain's gradient must equal {type(other).__name__}'s, found that it does not for "
                    f"parameter '{name}'; use that engine"
                )
