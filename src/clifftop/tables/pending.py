"""Which noise each row of a table still lacks: the arithmetic of deferred noise.

Plain stochastic gradient descent moves every row at every step t by

    w <- m_t w - eta_t (g_t + s_t z_t),    m_t = 1 - eta_t lambda_t,    z_t standard normal,

with learning rate eta, weight decay lambda and noise of standard deviation s. A row that no example
of steps a, ..., b - 1 read has g_t = 0 there, so

    w_b = (m_a ... m_{b-1}) w_a - sum_t eta_t s_t (m_{t+1} ... m_{b-1}) z_t,

which is normal given w_a: scaled by Q_b / Q_a, with variance Q_b^2 (S_b - S_a), where

    Q_t = m_0 ... m_{t-1},    S_t = sum over u < t of (eta_u s_u / Q_{u+1})^2.

Two numbers a step and one whole number a row therefore say what every row lacks, whatever the
learning rate, the decay and the noise were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

# Their product is far from where float64 underflows, even squared.
_SMALLEST_DECAY, _SMALLEST_FACTOR = 1e-100, 1e-10


@final
class Pending:
    """For each row, the step up to which its noise is in it; for each step, what it did to a row.

    Steps count from the last `restart`.

    >>> pending = Pending(3, device=torch.device("cpu"))
    >>> for lr in (0.1, 0.2, 0.2):
    ...     pending.advance(factor=1.0, noise_std=lr * 5.0)
    >>> pending.settle(torch.tensor([1]))
    >>> pending.advance(factor=1.0, noise_std=0.1 * 5.0)
    >>> scale, std = pending.missing(torch.tensor([0, 1]))
    >>> [round(v, 4) for v in std.square().tolist()]  # 0.5^2 + 1^2 + 1^2 + 0.5^2, and the last alone
    [2.5, 0.25]
    """

    def __init__(self, num_rows: int, *, device: torch.device) -> None:
        self.settled = torch.zeros(num_rows, dtype=torch.int32, device=device)
        self.steps = 0
        self._decay, self._spread = 1.0, 0.0
        self._history = self._empty()

    @property
    def decayed(self) -> bool:
        """Whether any row must be scaled."""
        return self._decay < 1

    @property
    def noisy(self) -> bool:
        """Whether any row may lack noise."""
        return self._spread > 0

    @property
    def must_restart(self) -> bool:
        """Whether the decay has become so small that its quotients would lose digits."""
        return self._decay < _SMALLEST_DECAY

    def advance(self, *, factor: float, noise_std: float) -> None:
        """One step of the dense mechanism: every row times ``factor``, plus noise of ``noise_std``.

        Raises:
            ValueError: ``factor`` is not in (1e-10, 1].
        """
        if not _SMALLEST_FACTOR < factor <= 1:
            raise ValueError(
                f"deferred noise needs 0 <= lr * weight_decay < 1, found 1 - lr * weight_decay={factor}; "
                "lower one of them"
            )
        if self.steps + 1 == self._history.shape[1]:
            self._history = torch.cat([self._history, torch.empty_like(self._history)], dim=1)
        self._decay *= factor
        self._spread += (noise_std / self._decay) ** 2
        self.steps += 1
        self._history.numpy()[:, self.steps] = self._decay, self._spread

    def missing(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """What to multiply ``rows`` by, and the standard deviation of the noise to add, float64 each."""
        since = self.settled[rows] if isinstance(rows, slice) else self.settled.index_select(0, rows)
        decay, spread = self._history.index_select(1, since.cpu()).to(since.device)
        # The sums grow, so a row never lacks less than nothing; rounding cannot change that.
        return self._decay / decay, (self._spread - spread).sqrt_().mul_(self._decay)

    def settle(self, rows: Tensor | slice, *, owed: int = 0) -> None:
        """Note that ``rows`` lack nothing now but the last ``owed`` steps."""
        if isinstance(rows, slice):
            self.settled[rows] = self.steps - owed
        else:
            self.settled.index_fill_(0, rows, self.steps - owed)

    def restart(self) -> None:
        """Count from 0 again; every row must be settled.

        Raises:
            ValueError: a row is not.
        """
        if self.steps and not bool((self.settled == self.steps).all()):
            raise ValueError("a count may restart only where every row is settled, found rows that are not")
        self.settled.zero_()
        self.steps = 0
        self._decay, self._spread = 1.0, 0.0
        self._history = self._empty()

    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors."""
        return {"settled": self.settled.clone(), "history": self._history[:, : self.steps + 1].clone()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`.

        Raises:
            ValueError: it is that of a table with another number of rows.
        """
        if state["settled"].shape != self.settled.shape:
            raise ValueError(
                f"the state must be of tables with {len(self.settled)} rows, found {len(state['settled'])}; "
                "load it for the model that it was saved with"
            )
        self.settled.copy_(state["settled"])
        history = state["history"].to(self._history)
        self.steps = history.shape[1] - 1
        self._decay, self._spread = history[:, -1].tolist()
        self._history = torch.cat([history, self._empty()], dim=1)

    def _empty(self) -> Tensor:
        history = torch.zeros(2, 64, dtype=torch.float64)
        history[0, 0] = 1.0
        return history
