"""Freeze what another library's accountant says of showing the best of a random number of runs.

Run as ``python tests/oracles/make_selection.py`` in an environment with dp_accounting 0.6 installed; it
writes ``selection.json`` beside itself. It shares no code with the package. The accountant is the Renyi
one, at its default orders, with `RepeatAndSelectDpEvent`: theorems 2 and 6 of Papernot and Steinke 2022.
``one_run`` is its privacy-loss accountant's epsilon of a single run, which no selection may fall below.

``law`` is ``[name, mean, shape]``; dp_accounting writes a Poisson law as an infinite shape.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

RUNS = [  # sigma, q, steps, delta
    (3.8132, 0.01, 10_000, 1e-5),
    (1.0, 0.16, 140, 1e-5),
    (10.0, 0.16, 140, 1e-6),
    (1.2, 0.02, 1_000, 1e-7),
    (6.0, 1.0, 20, 1e-5),
]
LAWS = [
    ("geometric", 10.0, 1.0),
    ("geometric", 64.0, 1.0),
    ("logarithmic", 10.0, 0.0),
    ("logarithmic", 64.0, 0.0),
    ("poisson", 10.0, math.inf),
]


def rows() -> list[dict[str, object]]:
    """One row a run and law."""
    from dp_accounting import dp_event, pld, rdp

    found = []
    for sigma, q, steps, delta in RUNS:
        run = dp_event.SelfComposedDpEvent(
            dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma)), steps
        )
        alone = pld.PLDAccountant()
        alone.compose(run)
        for name, mean, shape in LAWS:
            accountant = rdp.RdpAccountant()
            accountant.compose(dp_event.RepeatAndSelectDpEvent(run, mean, shape))
            found.append(
                {"sigma": sigma, "q": q, "steps": steps, "delta": delta, "law": [name, mean]}
                | {"one_run": alone.get_epsilon(delta), "renyi": accountant.get_epsilon(delta)}
            )
            print(found[-1], flush=True)
    return found


if __name__ == "__main__":
    target = Path(__file__).with_name("selection.json")
    target.write_text(json.dumps(rows(), indent=1) + "\n")
