"""Every engine by the name that the tables print, and where its class is."""

from __future__ import annotations

import importlib

from steps.base import Engine, Settings
from steps.tasks import Task

# Named, not imported: a rival's process loads no Clifftop, and the other way round.
PLAIN, PLAIN_SPARSE = "plain", "plain sparse"
UNPRIVATE = {
    PLAIN: "plain:Plain",
    PLAIN_SPARSE: "plain:PlainSparse",
    "plain compiled": "plain:PlainCompiled",
    "plain, large blocks kept": "plain:PlainLargeBlocks",
}
OURS = {
    "clifftop Trainer": "ours:ByTrainer",
    "clifftop PrivateStep": "ours:ByPrivateStep",
    "clifftop PrivateStep compiled": "ours:ByCompiledStep",
    "clifftop graph": "ours:ByGraph",
    "clifftop tape": "ours:ByTape",
    "clifftop deferred tables": "ours:ByTables",
}
RIVALS = {
    "Opacus hooks": "rivals:Opacus",
    "Opacus functorch": "rivals:OpacusFunctorch",
    "Opacus expanded weights": "rivals:OpacusExpandedWeights",
    "Opacus ghost": "rivals:OpacusGhost",
    "Opacus fast gradient clipping": "rivals:OpacusFastGradientClipping",
    "opake": "rivals:Opake",
    "opake compiled (private option)": "rivals:OpakeCompiled",
}
BY_HAND = {
    "vmap(grad) by hand": "by_hand:VmapByHand",
    "vmap(grad) compiled": "by_hand:VmapCompiled",
}
ONLY_SPARSE = {PLAIN_SPARSE, "clifftop deferred tables"}
ENGINES = UNPRIVATE | OURS | RIVALS | BY_HAND
MISSING = {
    "FastDP": "no distribution on the package index to install; its one-pass method is Clifftop's too",
}


def build(engine: str, task: Task, settings: Settings) -> Engine:
    """The engine of that name on a task."""
    module, name = ENGINES[engine].split(":")
    return getattr(importlib.import_module(f"steps.{module}"), name)(task, settings)


def baseline(task: Task) -> str:
    """What the task's target is a ratio to."""
    return PLAIN if task.build_sparse is None else PLAIN_SPARSE


def applicable(task: Task, names: list[str]) -> list[str]:
    """The engines that make sense on a task, the eager plain one first: every ratio needs it."""
    chosen = [n for n in ENGINES if n in names or n in {PLAIN, baseline(task)}]
    return [n for n in chosen if n not in ONLY_SPARSE or task.build_sparse is not None]
