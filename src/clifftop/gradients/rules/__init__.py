"""Rules: how one kind of leaf turns (input, output-gradient) into norms and weighted sums."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize

from clifftop.gradients.rules.base import GhostRule, LeafCall, Rule
from clifftop.gradients.rules.convolution import CONVOLUTIONS, ConvolutionRule
from clifftop.gradients.rules.embedding import EMBEDDINGS, EmbeddingRule, RenumberingHook, is_plain
from clifftop.gradients.rules.fallback import CallLayout, FallbackRule
from clifftop.gradients.rules.linear import LinearRule

_RULES: tuple[tuple[type[nn.Module], Rule], ...] = (
    (nn.Linear, LinearRule()),
    *((kind, ConvolutionRule()) for kind in CONVOLUTIONS),
    *((kind, EmbeddingRule()) for kind in EMBEDDINGS),
)
_FALLBACK = FallbackRule()


def rule_for(leaf: nn.Module) -> Rule:
    """The rule for a leaf; the fallback unless the leaf computes exactly what a rule assumes.

    >>> type(rule_for(nn.Linear(2, 3))).__name__
    'LinearRule'
    >>> type(rule_for(nn.LayerNorm(3))).__name__
    'FallbackRule'
    """
    changed = parametrize.is_parametrized(leaf) or _has_hooks(leaf)
    changed = changed or (isinstance(leaf, EMBEDDINGS) and not is_plain(leaf))
    if not changed:
        for kind, rule in _RULES:
            if isinstance(leaf, kind) and type(leaf).forward is kind.forward:
                return rule
    return _FALLBACK


def _has_hooks(leaf: nn.Module) -> bool:
    before = leaf._forward_pre_hooks.values()  # noqa: SLF001  torch has no public name
    after = leaf._forward_hooks  # noqa: SLF001  likewise
    return bool(after) or not all(isinstance(hook, RenumberingHook) for hook in before)


__all__ = [
    "CallLayout",
    "ConvolutionRule",
    "EmbeddingRule",
    "FallbackRule",
    "GhostRule",
    "LeafCall",
    "LinearRule",
    "Rule",
    "rule_for",
]
