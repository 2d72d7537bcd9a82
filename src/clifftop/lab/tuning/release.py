"""What a tuning releases: the winner's model, setting and score, and what all of it cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import save

from clifftop import __version__
from clifftop.codec import encode
from clifftop.files import write_all
from clifftop.lab.cohort.parts import build_model
from clifftop.lab.tuning.design import Design
from clifftop.lab.tuning.errors import TuneError
from clifftop.lab.tuning.scores import WORST, CountScore
from clifftop.lab.tuning.state import Arrays, Leader
from clifftop.lab.tuning.trials import Trial
from clifftop.lab.tuning.wording import tuning_statement

DOCUMENT, MODEL = "tuned.json", "tuned.safetensors"


@final
@dataclass(frozen=True, kw_only=True)
class Released:
    """A tuning's release, as it stands in its folder.

    Attributes:
        folder: holds ``tuned.json``, and ``tuned.safetensors`` with the model's state if there is a winner.
        document: the content of ``tuned.json``.
    """

    folder: Path
    document: Mapping[str, Any]

    @property
    def setting(self) -> Mapping[str, Any] | None:
        """The winner's value on each axis; None if nothing was run."""
        winner = self.document["winner"]
        return None if winner is None else winner["setting"]

    @property
    def score(self) -> float | None:
        """The winner's score; None if it diverged, or nothing was run."""
        winner = self.document["winner"]
        return None if winner is None else winner["score"]

    @property
    def statement(self) -> str:
        """The price, in a paragraph."""
        return str(self.document["statement"])


def read_release(folder: Path) -> Released | None:
    """The release in a folder; None if there is none.

    Raises:
        TuneError: the file is damaged.
    """
    path = folder / DOCUMENT
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TuneError(
            f"{path} must be what a tuning released, found it damaged ({error}); remove it"
        ) from error
    return Released(folder=folder, document=document)


def release(folder: Path, design: Design, winner: tuple[Trial, Leader, Arrays] | None) -> Released:
    """Write the winner, both files or none; nothing of any other trial, and no seed."""
    document = _document(design, winner)
    files = {DOCUMENT: (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()}
    if winner is not None:
        trial, leader, parameters = winner
        if leader.score != WORST:
            files = {MODEL: _model(trial, parameters)} | files
    write_all(folder, files)
    return Released(folder=folder, document=document)


def _model(trial: Trial, parameters: Arrays) -> bytes:
    """The model's state: trained parameters, and everything else as it was initialised."""
    model = build_model(trial.spec)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in parameters:
                parameter.copy_(torch.from_numpy(parameters[name]))
    return save({name: value.clone().contiguous() for name, value in model.state_dict().items()})


def _document(design: Design, winner: tuple[Trial, Leader, Arrays] | None) -> dict[str, Any]:
    sweep = design.sweep
    upper = design.epsilon.upper
    return {
        "format": 1,
        "clifftop": __version__,
        "sweep": sweep.name,
        "design": design.id,
        "winner": None if winner is None else _winner(design, *winner[:2]),
        "privacy": {
            "epsilon": upper if math.isfinite(upper) else "inf",
            "delta": sweep.delta,
            "neighboring_relation": design.neighboring_relation.value,
            "number_of_trials": encode(design.trials),
            "one_run_epsilon": design.one_run.upper if math.isfinite(design.one_run.upper) else "inf",
            "method": design.epsilon.method,
        },
        "statement": tuning_statement(design),
    }


def _winner(design: Design, trial: Trial, leader: Leader) -> dict[str, Any]:
    spec, diverged = trial.spec, leader.score == WORST
    score: float | None = None
    if not diverged:
        score = leader.score if design.sweep.goal.maximize else -leader.score
    found = {
        "setting": dict(trial.point),
        "diverged": diverged,
        "metric": design.sweep.goal.metric,
        "score": score,
        "score_is": design.score.words,
        "model": encode(spec.model),
        "data": encode(spec.data),
        "plan": encode(spec.plan),
        "optimizer": encode(spec.optimizer),
        "steps": spec.steps,
        "num_examples": design.num_examples,
    }
    if isinstance(design.score, CountScore) and score is not None:
        found["score_share"] = score / design.score.num_rows
    return found
