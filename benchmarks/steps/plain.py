"""Steps without privacy: what every private step is compared with."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from steps.base import Engine, Phase

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class Plain(Engine):
    """An ordinary eager step."""

    def prepare(self) -> None:
        """SGD over the model."""
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=self.settings.lr)

    def loss(self) -> Tensor:
        """The mean loss of the batch."""
        return self.task.criterion(self.module(*self.inputs), *self.targets).mean()

    def step(self) -> None:
        """Forward, backward, update."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()

    def phases(self) -> Iterator[Phase]:
        """Forward, backward, update."""
        kept: list[Tensor] = []
        self.optimizer.zero_grad()
        yield "forward", lambda: kept.append(self.loss())
        yield "backward", lambda: kept.pop().backward()
        yield "update", self.optimizer.step


class PlainCompiled(Plain):
    """The same with forward, loss and backward compiled."""

    def prepare(self) -> None:
        """Compile the loss of the batch."""
        super().prepare()

        def loss(inputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
            return self.task.criterion(self.module(*inputs), *targets).mean()

        self.compiled = torch.compile(loss)

    def loss(self) -> Tensor:
        """The mean loss of the batch."""
        return self.compiled(self.inputs, self.targets)


class PlainLargeBlocks(Plain):
    """The same with the allocator told to keep large blocks, which an application may do (Linux, glibc)."""

    def prepare(self) -> None:
        """Raise the sizes above which memory goes back to the system."""
        super().prepare()
        mallopt = ctypes.CDLL(None).mallopt
        if not (mallopt(M_MMAP_THRESHOLD, 1 << 30) and mallopt(M_TRIM_THRESHOLD, 1 << 30)):
            raise OSError("mallopt refused the thresholds")


class PlainSparse(Plain):
    """The same with sparse gradients of the tables."""

    def model(self) -> nn.Module:
        """The model whose tables give sparse gradients."""
        return self.task.model(sparse=True)
