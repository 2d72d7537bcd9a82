"""Losses and scores of R runs on their test examples: one mapped forward pass, or one a run.

A chain with convolutions is evaluated by its own kernels, run by run, as it is trained (`by_run`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import vmap

from clifftop.criteria import ScoredExamples, SetScore
from clifftop.flow import Params
from clifftop.gradients import Criterion
from clifftop.gradients.base import call_with
from clifftop.gradients.chain import Chain, Shared, chain_of, slices, suits
from clifftop.lab.spec import SpecError

_ELEMENTS = 1 << 24
_SLICE = 512  # examples of one run at a time, where runs go one by one
_KEPT_BYTES = 1 << 28  # what set scores may remember of all runs at a time


@torch.no_grad()
def evaluate(
    module: nn.Module,
    criteria: Mapping[str, Criterion],
    params: Params,
    constants: Params,
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    *,
    sets: Sequence[SetScore] = (),
    rows: Sequence[ScoredExamples] = (),
) -> dict[str, Tensor]:
    """The mean of each criterion over the test examples, and set scores, ``(R,)`` in float64, in eval mode.

    ``inputs`` and ``targets`` are ``(R, M, ...)``; examples are taken in chunks that fit memory. A module
    that cannot be mapped over runs (a recurrent layer) is called run by run. What set scores remember of
    examples is gathered and scored at the end, so that it is the same for any chunks; where that would take
    more memory than a quarter of a GiB, it is done for fewer runs at a time.

    Args:
        module: the model.
        criteria: per-example scores.
        params: trained parameters, ``(R, ...)`` each.
        constants: frozen parameters and buffers, ``(R, ...)`` each.
        inputs: the model's arguments.
        targets: the criteria's arguments behind the output.
        sets: scores of all examples of a run.
        rows: for these, each run's examples.

    Raises:
        SpecError: two scores have one name.
    """
    runs = targets[0].shape[0]
    scored = _Scored(module, criteria, sets)
    with evaluating(module):
        at_once = scored.runs_at_once(params, constants, inputs, targets)
        parts = [
            scored.measure(
                _of_runs(params, part),
                _of_runs(constants, part),
                [x[part] for x in inputs],
                [y[part] for y in targets],
                rows[part],
            )
            for part in slices(runs, at_once)
        ]
    return parts[0] if len(parts) == 1 else _joined(parts, at_once, runs)


def tabulated(found: Sequence[Mapping[str, float]], taken: Iterable[str] = ()) -> dict[str, Tensor]:
    """One run's scores after another as ``(R,)`` a name; NaN for a run that has none of that name.

    Raises:
        SpecError: a name is among ``taken``.
    """
    names = dict.fromkeys(name for one in found for name in one)
    for name in names.keys() & set(taken):
        raise SpecError(f"metrics must have names of their own, found two scores named {name!r}; remove one")
    return {
        name: torch.tensor([one.get(name, torch.nan) for one in found], dtype=torch.float64) for name in names
    }


@final
@dataclass(frozen=True)
class _Scored:
    """A model and what is measured of it."""

    module: nn.Module
    criteria: Mapping[str, Criterion]
    sets: Sequence[SetScore]

    def one_run(
        self, params: Params, constants: Params, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """See `of_output`; every tensor is without the run axis."""
        return self.of_output(call_with(self.module, {**constants, **params}, tuple(inputs)), targets)

    def of_output(self, output: Any, targets: Sequence[Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Each criterion's sum over the examples, and what each set score keeps of them."""
        sums = {name: criterion(output, *targets).sum() for name, criterion in self.criteria.items()}
        return sums, [score.keep(output, *targets) for score in self.sets]

    def all_runs(
        self, params: Params, constants: Params, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The same with the run axis, on a chunk of examples."""
        try:
            return vmap(self.one_run)(params, constants, list(inputs), list(targets))
        except RuntimeError:  # what torch raises for an operation that it cannot map
            alone = [
                self.one_run(
                    _row(params, r), _row(constants, r), [x[r] for x in inputs], [y[r] for y in targets]
                )
                for r in range(targets[0].shape[0])
            ]
            sums = {name: torch.stack([own[name] for own, _ in alone]) for name in self.criteria}
            return sums, [torch.stack(same) for same in zip(*(kept for _, kept in alone), strict=True)]

    def runs_at_once(
        self, params: Params, constants: Params, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> int:
        """How many runs' test examples set scores may remember at a time, seen on two examples of one run."""
        runs, count = targets[0].shape[:2]
        if not self.sets:
            return runs
        few = [[x[0, :2] for x in some] for some in (inputs, targets)]
        _, kept = self.one_run(_row(params, 0), _row(constants, 0), *few)
        each = count * sum(x[0].numel() * x.element_size() for x in kept)
        return max(1, min(runs, _KEPT_BYTES // max(1, each)))

    def measure(
        self,
        params: Params,
        constants: Params,
        inputs: Sequence[Tensor],
        targets: Sequence[Tensor],
        rows: Sequence[ScoredExamples],
    ) -> dict[str, Tensor]:
        """Means and set scores of some runs."""
        runs, count = targets[0].shape[:2]
        chain = chain_of(self.module) if suits(params, constants, inputs) else None
        if chain is not None and chain.convolves:
            chunks = self._by_run(chain, params, constants, inputs[0], targets)
        else:
            chunks = self._mapped(params, constants, inputs, targets)
        totals = {name: torch.zeros(runs, dtype=torch.float64) for name in self.criteria}
        kept: list[list[Tensor]] = [[] for _ in self.sets]
        for sums, own in chunks:
            for name, value in sums.items():
                totals[name] += value.double().cpu()
            for parts, part in zip(kept, own, strict=True):
                parts.append(part.cpu())
        found = {name: total / count for name, total in totals.items()}
        for score, parts in zip(self.sets, kept, strict=True):
            whole = torch.cat(parts, 1).numpy()
            each = [score.values(one, own) for one, own in zip(whole, rows, strict=True)]
            found |= tabulated(each, found)
        return found

    def _mapped(
        self, params: Params, constants: Params, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> Iterator[tuple[dict[str, Tensor], list[Tensor]]]:
        runs, count = targets[0].shape[:2]
        widest = max(x[0, 0].numel() for x in (*inputs, *targets))
        for part in slices(count, max(1, _ELEMENTS // max(1, runs * widest))):
            yield self.all_runs(
                params, constants, [x[:, part] for x in inputs], [y[:, part] for y in targets]
            )

    def _by_run(
        self, chain: Chain, params: Params, constants: Params, inputs: Tensor, targets: Sequence[Tensor]
    ) -> Iterator[tuple[dict[str, Tensor], list[Tensor]]]:
        """Slice by slice, so that runs share what is made of a slice."""
        runs, count = targets[0].shape[:2]
        tensors = [{**_row(constants, r), **_row(params, r)} for r in range(runs)]
        shared = Shared()
        for part in slices(count, _SLICE):
            found: list[tuple[dict[str, Tensor], list[Tensor]]] = []
            for r in range(runs):
                x = inputs[r, part]
                shared.begin(x)
                output = chain.outputs(x, tensors[r], shared)
                found.append(self.of_output(output, [y[r, part] for y in targets]))
            sums = {name: torch.stack([own[name] for own, _ in found]) for name in self.criteria}
            yield sums, [torch.stack(same) for same in zip(*(kept for _, kept in found), strict=True)]


def _row(tensors: Params, r: int) -> Params:
    return {name: tensor[r] for name, tensor in tensors.items()}


def _of_runs(tensors: Params, part: slice) -> Params:
    return {name: tensor[part] for name, tensor in tensors.items()}


def _joined(parts: Sequence[Mapping[str, Tensor]], at_once: int, runs: int) -> dict[str, Tensor]:
    """The scores of all runs; NaN where a run has none of that name."""
    names = dict.fromkeys(name for part in parts for name in part)
    whole = {name: torch.full((runs,), torch.nan, dtype=torch.float64) for name in names}
    for place, part in zip(slices(runs, at_once), parts, strict=True):
        for name, values in part.items():
            whole[name][place] = values
    return whole


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, with each layer's own mode given back."""
    modes = [(layer, layer.training) for layer in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
