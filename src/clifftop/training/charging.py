"""Charges to the ledger of the data set: a block of steps at a time, always before the block's first step."""

from __future__ import annotations

import re
import secrets
from functools import partial
from typing import final

from clifftop.accounting import Ledger
from clifftop.events import DpEvent
from clifftop.parallel import Ranks, on_rank_zero, share
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
        ledger: of the data set; None charges nothing. Only rank 0's is read.
        plan: whose steps are charged.
        num_examples: of the data.
        ranks: only rank 0 charges; the others wait for it.
        block: how many steps one entry charges.

    Raises:
        ValueError: the ledger is for another neighbouring relation than the plan, or another rank has one
            and rank 0 has none.
    """

    def __init__(
        self, ledger: Ledger | None, plan: PrivacyPlan, *, num_examples: int, ranks: Ranks, block: int
    ) -> None:
        """See the class."""
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise ValueError(f"charge_steps must be a whole number >= 1, found charge_steps={block!r}")
        ranks.agree("charge_steps", repr(block).encode())
        on_rank_zero(ranks, partial(_require_relation, ledger, plan))
        self._charging = share(ranks, b"" if ledger is None else b"yes") != b""
        if not self._charging:
            what = "lack of a ledger (rank 0 has none, and no other is charged)"
            ranks.agree(what, repr(ledger is None).encode())
        self._ledger, self._plan, self._num_examples = ledger, plan, num_examples
        self._ranks, self._block = ranks, block
        self.take_up(new_run())

    def take_up(self, run: str) -> None:
        """Go on charging for ``run``, from where its entries in the ledger end."""
        self.run = run
        pattern = re.compile(_NOTE.format(run=re.escape(run), first=r"\d+", last=r"(\d+)"))
        entries = self._ledger.entries if self._ledger is not None and self._ranks.rank == 0 else ()
        notes = [pattern.fullmatch(entry.note) for entry in entries]
        charged = max((int(found[1]) for found in notes if found), default=0)
        self.charged = int(share(self._ranks, str(charged).encode()))

    def before(self, step: int, *, horizon: int) -> None:
        """Charge so that ``step`` (from 1) may be released; ahead to at most ``horizon``.

        Raises:
            BudgetExceeded: the ledger's budget does not allow it; nothing was charged.
        """
        if not self._charging or step <= self.charged:
            return
        more = max(step, min(horizon, self.charged + self._block)) - self.charged
        if isinstance(self._plan.sampler, FixedOrder):
            # A fixed order costs one release an epoch, whichever of its steps come: whole epochs are charged.
            epoch = self._plan.sampler.steps_per_epoch(self._num_examples)
            more += -(self.charged + more) % epoch
        event = self._plan.event(steps=more, num_examples=self._num_examples)
        note = _NOTE.format(run=self.run, first=self.charged + 1, last=self.charged + more)
        on_rank_zero(self._ranks, partial(_charge, self._ledger, event, note))
        self.charged += more


def _charge(ledger: Ledger | None, event: DpEvent, note: str) -> None:
    assert ledger is not None  # on rank 0, of a run that charges
    ledger.charge(event, note=note)


def _require_relation(ledger: Ledger | None, plan: PrivacyPlan) -> None:
    if ledger is not None and ledger.neighboring_relation is not plan.neighboring_relation:
        raise ValueError(
            f"the ledger must have the plan's neighboring_relation={plan.neighboring_relation.name}, "
            f"found {ledger.neighboring_relation.name}; open the ledger that was made with it"
        )
