"""Is it the noise, the clipping, or the learning rate? Drafts from the decomposition of the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from clifftop.analysis.decomposition import CellLoss, Decomposition
from clifftop.analysis.evidence import Arm, Evidence
from clifftop.analysis.uncertainty import Estimate, estimate
from clifftop.report.conclusions.base import Conclusion, Kind
from clifftop.report.conclusions.drafts import Draft, above, below, corrected
from clifftop.report.conclusions.words import SMALL, amount, is_share, listed, where
from clifftop.report.wording import epsilon_up, plain

_CLIPPING = ("clip_norm", "clipping")


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
    clipped = _one_a_clipping([loss for loss in decomposition.fixed if loss.setting.get("lr") == lr])
    if clipped:
        yield _learning_rate(evidence, decomposition, clipped)
    yield from _noise_or_clipping(evidence, decomposition)


def best_baseline_lr(evidence: Evidence) -> float | None:
    """The learning rate at which training without privacy does best on the mean; None without baselines."""
    baselines = [cell for cell in evidence.of(Arm.NEITHER) if evidence.utilities(cell).size]
    if not baselines:
        return None
    return max(baselines, key=lambda cell: round(float(evidence.utilities(cell).mean()), 12)).number("lr")


def _one_a_clipping(losses: Sequence[CellLoss]) -> list[CellLoss]:
    """One loss a clip norm and rule: clipping without noise costs the same whatever the noise."""
    found: dict[tuple[object, ...], CellLoss] = {}
    for loss in losses:
        if loss.clipping is not None:
            found.setdefault(tuple(loss.setting.get(name) for name in _CLIPPING), loss)
    return list(found.values())


def _learning_rate(evidence: Evidence, whole: Decomposition, clipped: Sequence[CellLoss]) -> Draft:
    """The clipping that costs most at one learning rate, and what is left of that cost at the best."""
    worst = max(clipped, key=_cost)
    tuned = whole.tuned_for(worst.cell)
    fixed_cost = worst.clipping
    assert fixed_cost is not None
    names = [name for name in _CLIPPING if name in evidence.axes] or ["clip_norm"]
    clip, lr = where(evidence.cells[worst.cell], names), worst.setting.get("lr")
    at = f"At learning rate {plain(float(lr))}" if isinstance(lr, int | float) else "At its learning rate"
    text = f"{at}, clipping alone ({clip}) costs {amount(evidence, fixed_cost)}."
    first = above("clipping costs at one learning rate", (worst.cell,), fixed_cost)
    if tuned is None or tuned.clipping is None:
        return Draft(
            conclusion=Conclusion(
                title="One learning rate cannot tell clipping from slow training",
                text=f"{text} A clipped step is at most learning rate times clip norm long: sweep the "
                "learning rate too, to see how much of that is a step too short.",
                kind=Kind.CAUTION,
                cells=(worst.cell,),
            ),
            claims=() if first is None else (corrected(first, len(clipped)),),
        )
    left = amount(evidence, tuned.clipping)
    text += f" With the learning rate tuned for each, on the other seeds, it costs {left}."
    return _verdict(evidence, worst, tuned, text + _undertrained(evidence, worst), len(clipped))


def _verdict(evidence: Evidence, worst: CellLoss, tuned: CellLoss, text: str, looked_at: int) -> Draft:
    """That the learning rate explains the cost, where it does; else the numbers alone."""
    small = SMALL if is_share(evidence) else 0.1 * _cost(worst)
    subject = (worst.cell, tuned.cell)
    claims = (
        above("clipping costs at one learning rate", subject, worst.clipping, than=small),
        below("clipping costs little at the best", subject, tuned.clipping, than=small),
    )
    measured = Conclusion(
        title="Clipping at one learning rate and at the best",
        text=text,
        kind=Kind.MEASURE,
        cells=(worst.cell, tuned.cell),
    )
    known = tuple(corrected(claim, looked_at) for claim in claims if claim is not None)
    if len(known) < len(claims):
        return Draft(conclusion=measured)
    return Draft(
        conclusion=Conclusion(
            title="What looks like the cost of clipping is the learning rate",
            text=text,
            kind=Kind.CLAIM,
            cells=(worst.cell, tuned.cell),
        ),
        claims=known,
        otherwise=measured,
    )


def _undertrained(evidence: Evidence, loss: CellLoss) -> str:
    if loss.undertraining is None:
        return ""
    stopped = amount(evidence, loss.undertraining)
    return f" A run without privacy that stops where the private one's training fit ended loses {stopped}."


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
    setting = where(evidence.cells[loss.cell], names)
    lr = "each at its best learning rate" if tuned else "at one learning rate"
    level = epsilon_up(epsilon, digits=4) + (f" ({setting})" if setting else "")
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
        above(f"{most} costs more than {name}", (loss.cell,), estimate(parts[most] - values))
        for name, values in parts.items()
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


def _cost(loss: CellLoss) -> float:
    assert loss.clipping is not None
    return loss.clipping.mean


def _mirrored(of: Estimate) -> Estimate:
    ends = None if of.ci95 is None else (-of.ci95[1], -of.ci95[0])
    return Estimate(mean=-of.mean, std=of.std, n=of.n, ci95=ends)
