"""The metrics of a cohort, each given what it needs: outputs, groups, or what clipping does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clifftop.batching import Examples
from clifftop.criteria import ClippingScore, ScoredExamples, SetScore
from clifftop.datasets import Rows, TrainTest
from clifftop.flow import Batch, Params
from clifftop.gradients import Criterion, GraphEngine, PerExampleLoss, UnsupportedModule
from clifftop.gradients.base import GradientEngine
from clifftop.lab.evaluate.metrics import Metric
from clifftop.lab.evaluate.passes import evaluating, tabulated
from clifftop.noise import RunStreams
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, Summing


@final
@dataclass(frozen=True, kw_only=True)
class Clipping:
    """How a cohort clips, to be looked at outside of a step.

    Attributes:
        plans: one a run, of which the first's kind of rule is all runs'.
        engine: gives per-example gradients.
        summing: makes clipped sums.
        loss: model and criterion.
        state: the runs' clip norms.
        streams: what runs draw from; nothing is drawn here.
        most: how many examples of a run go through at once.
    """

    plans: Sequence[PrivacyPlan]
    engine: GradientEngine
    summing: Summing
    loss: PerExampleLoss
    state: PrivacyState
    streams: RunStreams
    most: int

    @torch.no_grad()
    def weights(self, params: Params, batch: Batch) -> Tensor:
        """What clipping would scale each example's gradient by, ``(R, n, G)``, the model in eval mode.

        1 where the rule bounds no example.
        """
        if not any(plan.clipping.bounds_examples for plan in self.plans):
            return torch.ones(*batch.mask.shape, 1)
        try:
            return self._weights(self.engine, params, batch)
        except UnsupportedModule:
            return self._weights(GraphEngine(), params, batch)

    def _weights(self, engine: GradientEngine, params: Params, batch: Batch) -> Tensor:
        with evaluating(self.loss.module):
            summed = self.summing(
                self.plans[0], engine, self.loss, params, batch, self.state, self.streams.at(0),
                diagnose=False, microbatch_size=self.most,
            )  # fmt: skip
        return summed.seen.weights.cpu()


@final
class Scores:
    """The metrics of R runs.

    Attributes:
        criteria: per-example scores by name.
        sets: scores of all test examples.
        rows: each run's test examples.

    Args:
        metrics: by name.
        data: of the distinct seeds, or one for all.
        streams: say which seed a run has.
    """

    def __init__(self, metrics: Mapping[str, Metric], data: Sequence[TrainTest], streams: RunStreams) -> None:
        plain = {n: m for n, m in metrics.items() if not isinstance(m, SetScore | ClippingScore)}
        self.criteria: Mapping[str, Criterion] = plain
        self.sets = tuple(m for m in metrics.values() if isinstance(m, SetScore))
        self._clipping = tuple(m for m in metrics.values() if isinstance(m, ClippingScore))
        self._owners: list[int] = streams.spread(torch.arange(len(data))).tolist()
        test = [scored_examples(d.test) for d in data]
        self.rows = [test[owner] for owner in self._owners]
        self._chosen = [[_chosen(score, d.train) for d in data] for score in self._clipping]

    def of_clipping(
        self, clipping: Clipping, params: Params, train: Examples, taken: Sequence[str]
    ) -> dict[str, Tensor]:
        """The scores of what clipping does to training examples, ``(R,)`` a name.

        Raises:
            SpecError: a name is among ``taken``.
        """
        found: dict[str, Tensor] = {}
        for score, chosen in zip(self._clipping, self._chosen, strict=True):
            batch = _batch(train, np.stack([places for places, _ in chosen]), clipping.streams)
            weights = clipping.weights(params, batch).numpy()
            each = [score.values(w, chosen[o][1]) for w, o in zip(weights, self._owners, strict=True)]
            found |= tabulated(each, (*taken, *found))
        return found


def scored_examples(rows: Rows) -> ScoredExamples:
    """Rows as a score sees them."""
    return ScoredExamples(targets=rows.targets, inputs=rows.inputs, groups=rows.groups)


def _chosen(score: ClippingScore, train: Rows) -> tuple[NDArray[np.int64], ScoredExamples]:
    """The places of the training rows that a score looks at, and the rows."""
    rows = scored_examples(train)
    places = score.chosen(rows)
    return places, rows.take(places)


def _batch(train: Examples, places: NDArray[np.int64], streams: RunStreams) -> Batch:
    """Rows ``(S, n)`` of the training examples, for every run."""
    chosen, seeds = torch.from_numpy(places), torch.arange(len(places))[:, None]

    def take(x: Tensor) -> Tensor:
        return streams.spread(x[seeds.to(x.device), chosen.to(x.device)])

    inputs, targets = (tuple(map(take, some)) for some in (train.inputs, train.targets))
    runs = inputs[0].shape[0]
    mask = torch.ones(runs, chosen.shape[1], dtype=torch.bool, device=inputs[0].device)
    return Batch(inputs=inputs, targets=targets, mask=mask)
