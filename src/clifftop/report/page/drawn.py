"""Which section shows which chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from clifftop.report.page.blocks import Charts

if TYPE_CHECKING:
    from clifftop.report.drawings import Drawing


@final
class Drawn:
    """The charts of a page, each given to the first section that asks for it."""

    def __init__(self, drawings: Sequence[Drawing], *, but: str) -> None:
        self._left = [drawing.name for drawing in drawings if drawing.name != but]

    def named(self, *beginnings: str) -> tuple[str, ...]:
        """The charts whose names begin so and that no section has yet."""
        found = tuple(name for name in self._left if name.startswith(beginnings))
        self._left = [name for name in self._left if name not in found]
        return found

    def charts(self, *beginnings: str) -> tuple[Charts, ...]:
        """The same as a block; none where there are no such charts."""
        found = self.named(*beginnings)
        return (Charts(names=found),) if found else ()

    def rest(self) -> tuple[str, ...]:
        """The charts that no section asked for."""
        return self.named("")
