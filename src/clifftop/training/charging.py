"""Charges to the ledger of the data set: a block of steps at a time, always before the block's first step."""

from __future__ import annotations

import re
import secrets
from typing import final

from clifftop.accounting import Ledger
from clifftop.parallel import Ranks, on_rank_zero
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder

_NOTE = "training run {run}: steps {first} to {last}"


def new_run() -> str:
    """A name for a run that no other has."""
    return secrets.token_hex(8)


@final
class Charges:
    """What one run has charged, in steps.

    A run that was killed and goes on from a checkpoint repeats steps with the draws they had: the same
    release, charged once. So what a run has charged is read from the ledger, by the run's name, and not
    from the checkpoint.

    Args:
        ledger: of the data set; None charges nothing.
        plan: whose steps are charged.
        num_examples: of the data.
        ranks: only rank 0 charges; the others wait for it.
        block: how many steps one entry charges.

    Raises:
        ValueError: the ledger is for another neighbouring relation than the plan.
    """

    def __init__(
        self, ledger: Ledger | None, plan: PrivacyPlan, *, num_examples: int, ranks: Ranks, block: int
    ) -> None:
        """See the class."""
        if ledger is not None and ledger.neighboring_relation is not plan.neighboring_relation:
            raise ValueError(
                f"the ledger must have the plan's neighboring_relation={plan.neighboring_relation.name}, "
                f"found {ledger.neighboring_relation.name}; open the ledger that was made with it"
            )
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise ValueError(f"charge_steps must be a whole number >= 1, found charge_steps={block!r}")
        ranks.agree("choice of whether there is a ledger", repr(ledger is None).encode())
        self._ledger, self._plan, self._num_examples = ledger, plan, num_examples
        self._ranks, self._block = ranks, block
        self.take_up(new_run())

    def take_up(self, run: str) -> None:
        """Go on charging for ``run``, from where its entries in the ledger end."""
        self.run, self.charged = run, 0
        pattern = re.compile(_NOTE.format(run=re.escape(run), first=r"\d+", last=r"(\d+)"))
        for entry in self._ledger.entries if self._ledger is not None else ():
            if found := pattern.fullmatch(entry.note):
                self.charged = max(self.charged, int(found[1]))

    def before(self, step: int, *, horizon: int) -> None:
        """Charge so that ``step`` (from 1) may be released; ahead to at most ``horizon``.

        Raises:
            BudgetExceeded: the ledger's budget does not allow it; nothing was charged.
        """
        ledger = self._ledger
        if ledger is None or step <= self.charged:
            return
        more = max(step, min(horizon, self.charged + self._block)) - self.charged
        if isinstance(self._plan.sampler, FixedOrder):
            # A fixed order costs one release an epoch, whichever of its steps come: whole epochs are charged.
            epoch = self._plan.sampler.steps_per_epoch(self._num_examples)
            more += -(self.charged + more) % epoch
        event = self._plan.event(steps=more, num_examples=self._num_examples)
        note = _NOTE.format(run=self.run, first=self.charged + 1, last=self.charged + more)
        on_rank_zero(self._ranks, lambda: ledger.charge(event, note=note))
        self.charged += more
