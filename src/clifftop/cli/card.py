"""`clifftop card`: the privacy card of a results folder, of a tuning's release, or of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clifftop.cli.options import Json, Real
from clifftop.cli.output import print_json, print_line

if TYPE_CHECKING:
    from clifftop.report.card import Card


def card(
    folder: Path,
    /,
    *,
    run: str | None = None,
    delta: Real = None,
    ledger: Path | None = None,
    as_json: Json = False,
    out: Path | None = None,
) -> int:
    """Write the privacy card of a run: what may be released, at what price, and how well that is supported.

    - Of a sweep: `clifftop card FOLDER --run 5bb9 --out card.md`
    - Of a release of `clifftop tune`: `clifftop card FOLDER`
    - Of a training by the Trainer: `clifftop card checkpoint.pt --delta 1e-6`

    The run's batches are drawn again and compared with what the accountant assumed. What cannot be supported
    is left out, and the card says so.

    Args:
        folder: of a sweep, a study or a tuning's release; or a checkpoint of a Trainer.
        run: the first characters of the run's id, as `clifftop runs` lists it; by default the only private
            run, or the best of them.
        delta: at which epsilon is stated; by default that of the sweep.
        ledger: of the data set, for a checkpoint whose training was charged to it.
        as_json: JSON in place of Markdown.
        out: write a file in place of printing.
    """
    found = _card(folder, run, delta, ledger)
    if out is None and as_json:
        print_json(found.to_json())
    elif out is None:
        print_line(found.to_markdown().rstrip("\n"))
    else:
        _write(found, out, as_json=as_json)
    return 0


def _card(folder: Path, run: str | None, delta: float | None, ledger: Path | None) -> Card:
    from clifftop.report.card import CardError, checkpoint_card, privacy_card, tuned_card

    if folder.is_file():
        if delta is None:
            raise CardError("a checkpoint holds no delta, found none given; give --delta, such as 1e-6")
        if run is not None:
            raise CardError(f"a checkpoint is of one training, found --run={run}; leave it out")
        if ledger is None:
            return checkpoint_card(folder, delta=delta)
        from clifftop.accounting import Ledger

        with Ledger.read(ledger) as opened:
            return checkpoint_card(folder, delta=delta, ledger=opened)
    if ledger is not None:
        raise CardError(f"a ledger belongs to a checkpoint, found --ledger={ledger}; leave it out")
    if (folder / "tuned.json").is_file():
        if run is not None or delta is not None:
            raise CardError("a tuning releases one model at one delta; leave out --run and --delta")
        return tuned_card(folder)
    return privacy_card(folder, run=run, delta=delta)


def _write(found: Card, out: Path, *, as_json: bool) -> None:
    from clifftop.analysis.jsonio import dumps
    from clifftop.files import write_all

    content = dumps(found.to_json()) if as_json else found.to_markdown().encode()
    write_all(out.parent, {out.name: content})
    print_line(f"privacy card: {out}; may be released: {found.verdict.release}")
