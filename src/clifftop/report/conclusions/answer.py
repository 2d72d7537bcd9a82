"""Is it the noise, the clipping, or the learning rate? Drafts from the decomposition of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from clifftop.analysis.decomposition import CellLoss, Decomposition
from clifftop.analysis.decomposition.answers import ClippingAnswer, clipping_answers
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.evidence.cells import NOISE_SETTINGS
from clifftop.analysis.inference import Claim
from clifftop.analysis.uncertainty import Estimate
from clifftop.report.conclusions.base import Conclusion, Kind
from clifftop.report.conclusions.drafts import Draft, above, corrected
from clifftop.report.conclusions.words import SMALL, amount, is_share, listed, where
from clifftop.report.wording import epsilon_up, plain, setting


@final
@dataclass(frozen=True, kw_only=True)
class Clipped:
    """What one clip norm costs, at the learning rate that all are compared at first.

    Attributes:
        answer: of the clip norm.
        first: what it costs at that learning rate.
        private: the least noisy private cell there, for its training fit; None without one.
    """

    answer: ClippingAnswer
    first: Claim
    private: CellLoss | None


def answer_drafts(
    evidence: Evidence, decomposition: Decomposition | None, *, reference_lr: float | None = None
) -> Iterator[Draft]:
    """Drafts about clipping at one learning rate and at the best, then about noise beside clipping.

    Args:
        evidence: with the arms.
        decomposition: of its private cells.
        reference_lr: the learning rate that all settings are first compared at; by default the one that is
            best without privacy.
    """
    if decomposition is None:
        return
    lr = best_baseline_lr(evidence) if reference_lr is None else reference_lr
    clipped = [
        Clipped(answer=answer, first=first, private=_least_noisy(decomposition, answer, lr))
        for answer in clipping_answers(evidence, below=SMALL)
        for first in answer.at_lr
        if first.subject[1] == lr
    ]
    if clipped:
        worst = max(clipped, key=lambda one: one.first.estimate.mean)
        yield _learning_rate(evidence, worst, len(clipped))
    yield from _noise_or_clipping(evidence, decomposition)


def best_baseline_lr(evidence: Evidence) -> float | None:
    """The learning rate at which training without privacy does best on the mean; None without baselines."""
    baselines = [cell for cell in evidence.of(Arm.NEITHER) if evidence.utilities(cell).size]
    if not baselines:
        return None
    return max(baselines, key=lambda cell: round(float(evidence.utilities(cell).mean()), 12)).number("lr")


def _learning_rate(evidence: Evidence, worst: Clipped, looked_at: int) -> Draft:
    """The clipping that costs most at one learning rate, and what is left of that cost at the best.

    Args:
        evidence: for words.
        worst: the clip norm that costs most.
        looked_at: how many clip norms it was picked from.
    """
    answer, first = worst.answer, corrected(worst.first, looked_at)
    clip = setting("C", answer.clip_norm)
    text = f"At learning rate {_lr(worst)}, clipping alone ({clip}) costs {amount(evidence, first.estimate)}."
    if answer.at_best_lr is None:
        return Draft(conclusion=_one_rate(text), claims=(first,))
    text += (
        f" With the learning rate tuned for each, it costs {amount(evidence, answer.at_best_lr.estimate)}."
    )
    if worst.private is not None and worst.private.undertraining is not None:
        least = "at least " if worst.private.undertraining_is_bound else ""
        stopped = least + amount(evidence, worst.private.undertraining)
        text += f" A run without privacy that stops at the private one's training fit loses {stopped}."
    recovered = next(corrected(c, looked_at) for c in answer.recovered if c.subject[1] == first.subject[1])
    tuned = corrected(answer.at_best_lr, looked_at)
    costs = Draft(
        conclusion=_said(f"Clipping at {clip} costs utility at its best learning rate too", text, worst),
        claims=(tuned,),
        otherwise=Conclusion(
            title="Clipping at one learning rate and at the best", text=text, kind=Kind.MEASURE
        ),
    )
    explained = Draft(
        conclusion=_said("The learning rate explains part of what clipping seems to cost", text, worst),
        claims=(first, recovered),
        otherwise=costs,
    )
    if answer.below is None or not is_share(evidence):
        return explained
    return Draft(
        conclusion=_said("What looks like the cost of clipping is the learning rate", text, worst),
        claims=(first, recovered, corrected(answer.below, looked_at)),
        otherwise=explained,
    )


def _one_rate(text: str) -> Conclusion:
    return Conclusion(
        title="One learning rate cannot tell clipping from slow training",
        text=f"{text} A clipped step is at most learning rate times clip norm long: sweep the learning rate "
        "too, to see how much of that is a step too short.",
        kind=Kind.CAUTION,
    )


def _said(title: str, text: str, worst: Clipped) -> Conclusion:
    cells = () if worst.private is None else worst.private.cells
    return Conclusion(title=title, text=text, kind=Kind.CLAIM, cells=cells)


def _lr(clipped: Clipped) -> str:
    lr = clipped.first.subject[1]
    return plain(lr) if isinstance(lr, float) else str(lr)


def _least_noisy(whole: Decomposition, answer: ClippingAnswer, lr: float | None) -> CellLoss | None:
    """The least noisy private cell with this clip norm and learning rate."""
    wanted = {**answer.setting, "clip_norm": answer.clip_norm, "lr": lr}
    shared = [
        loss
        for loss in whole.fixed
        if all(
            loss.setting.get(name) == value for name, value in wanted.items() if name not in NOISE_SETTINGS
        )
    ]
    if not shared:
        return None
    return min(shared, key=lambda loss: float(loss.setting.get("noise_multiplier") or 0))


def _noise_or_clipping(evidence: Evidence, whole: Decomposition) -> Iterator[Draft]:
    """What costs more at the strictest level that was measured, each arm at its best learning rate."""
    losses = [loss for loss in whole.tuned or whole.fixed if loss.interaction is not None]
    levels = {loss.cell: _epsilon(evidence, loss) for loss in losses}
    finite = [level for level in levels.values() if level is not None]
    if not finite:
        return
    strictest = min(finite)
    here = [loss for loss in losses if levels[loss.cell] == strictest]
    loss = max(here, key=lambda loss: float(loss.utilities[Arm.BOTH].mean()))
    yield _compared(evidence, loss, strictest, tuned=bool(whole.tuned))


def _compared(evidence: Evidence, loss: CellLoss, epsilon: float, *, tuned: bool) -> Draft:
    assert loss.noise is not None
    assert loss.clipping is not None
    parts = [f"noise {amount(evidence, loss.noise)}", f"clipping {amount(evidence, loss.clipping)}"]
    if loss.interaction is not None:
        more = loss.interaction if loss.interaction.mean >= 0 else _mirrored(loss.interaction)
        than = "more" if more is loss.interaction else "less"
        parts.append(f"the two together {amount(evidence, more)} {than} than their sum")
    names = [name for name in evidence.axes if name not in ("lr", "noise_multiplier", "target_epsilon")]
    others = where(evidence.cells[loss.cell], names)
    lr = "each at its best learning rate" if tuned else "at one learning rate"
    level = epsilon_up(epsilon, digits=4) + (f" ({others})" if others else "")
    text = f"At epsilon {level}, {lr}: {listed(parts)}."
    return _draft_of(loss, text)


_TITLES = {
    "noise": "At the strictest level the noise costs most",
    "clipping": "At the strictest level the clipping costs most",
    "interaction": "At the strictest level noise and clipping cost together what neither costs alone",
}


def _draft_of(loss: CellLoss, text: str) -> Draft:
    """That the part with the largest mean costs something, and more than each of the others."""
    measured = Conclusion(
        title="Noise beside clipping at the strictest level", text=text, kind=Kind.MEASURE, cells=(loss.cell,)
    )
    parts = {name: loss.by_seed(name) for name in _TITLES}
    most = max(parts, key=lambda name: float(parts[name].mean()))
    claims = [above(f"{most} costs", (loss.cell,), getattr(loss, most))]
    claims += [
        above(f"{most} costs more than {name}", (loss.cell,), loss.difference(most, name))
        for name in parts
        if name != most
    ]
    # Each of the three could have come out ahead.
    known = tuple(corrected(claim, len(parts)) for claim in claims if claim is not None)
    if len(known) < len(claims):
        return Draft(conclusion=measured)
    return Draft(
        conclusion=Conclusion(title=_TITLES[most], text=text, kind=Kind.CLAIM, cells=(loss.cell,)),
        claims=known,
        otherwise=measured,
    )


def _epsilon(evidence: Evidence, loss: CellLoss) -> float | None:
    found = evidence.cells[loss.cell].epsilon
    return None if found is None else found.upper


def _mirrored(of: Estimate) -> Estimate:
    ends = None if of.ci95 is None else (-of.ci95[1], -of.ci95[0])
    return Estimate(mean=-of.mean, std=of.std, n=of.n, ci95=ends)
