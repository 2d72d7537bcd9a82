"""A plan's next step as a file: the sweep around the proposal that `clifftop sweep` reads."""

from __future__ import annotations

import json
from collections.abc import Sequence

from clifftop.planning.advice import TrainingPlan

MODEL, DATA = "my_project:model", "my_project:data"
"""Stand-ins for the factories, which a plan does not know."""


def sweep_toml(plan: TrainingPlan, *, name: str = "plan", model: str = MODEL, data: str = DATA) -> str:
    """The TOML of a grid around the proposal, each run calibrated to the plan's epsilon.

    Its axes are the proposed batch size and both neighbours, five learning rates and two seeds.

    Args:
        plan: what was planned.
        name: of the sweep.
        model: the model's factory, ``module:callable``.
        data: the data's factory.

    >>> from clifftop.planning import Compute, Question, plan_training
    >>> ten = Compute.of_epochs(10, num_examples=60_000)
    >>> plan = plan_training(Question(num_examples=60_000, epsilon=3.0, delta=1e-5, compute=ten))
    >>> print(sweep_toml(plan).partition("[axes]")[2])
    <BLANKLINE>
    expected_batch_size = [512, 1024, 2048]
    lr = [14.0, 28.0, 57.0, 110.0, 230.0]
    seed = [0, 1]
    <BLANKLINE>
    """
    question, proposal = plan.question, plan.proposal
    chosen = proposal.candidate
    return f"""\
# Around what `clifftop plan` proposed for {question.num_examples} examples: a heuristic, to be searched.
# Every run is calibrated to the epsilon below, which is that of one run; the search itself costs more,
# unless the data are public. `clifftop tune` pays for it; or tune on public data, then `clifftop transfer`.
name = {_text(name)}

[model]
factory = {_text(model)}

[data]
factory = {_text(data)}

[privacy]
target_epsilon = {float(question.epsilon)!r}
delta = {float(question.delta)!r}
neighboring_relation = {_text(question.neighboring_relation.value)}
clip_norm = {proposal.clip_norm!r}

[training]
epochs = {chosen.epochs!r}

[axes]
expected_batch_size = {_list(_around(plan))}
lr = {_list(proposal.lrs)}
seed = [0, 1]
"""


def _around(plan: TrainingPlan) -> list[int]:
    """The proposed batch size and its neighbours in the table."""
    sizes = [row.batch_size for row in plan.table]
    place = sizes.index(plan.proposal.candidate.batch_size)
    return sizes[max(0, place - 1) : place + 2]


def _list(values: Sequence[float]) -> str:
    return f"[{', '.join(map(repr, values))}]"


def _text(value: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False)
