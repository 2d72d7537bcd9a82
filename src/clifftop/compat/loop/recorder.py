"""Hands a module's outputs out as leaves of a new graph, and keeps the graph behind them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from clifftop.compat.loop.calls import Call, KnownCalls, is_rows
from clifftop.compat.loop.errors import LoopError
from clifftop.flow import Batch, GroupMap, PerExampleGrads
from clifftop.gradients.base import PerExampleLoss, constant_tensors, trainable_parameters
from clifftop.gradients.graph import GraphEngine, RecordedCall
from clifftop.gradients.graph.forward import forward_pass
from clifftop.gradients.randomness import draw_uniforms
from clifftop.noise import Keyed, StepStreams


@final
@dataclass(kw_only=True)
class Pass:
    """One forward pass of the module on a batch.

    Attributes:
        call: how the module was called.
        inputs: the examples' rows.
        draws: the stream that dropout drew from.
        outputs: what it gave, by place: the tensor with its graph, and the leaf whose copy the loop got.
    """

    call: Call
    inputs: tuple[Tensor, ...]
    draws: StepStreams
    outputs: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def reached(self) -> tuple[int, ...]:
        """Which outputs the loop's backward pass has left a gradient at."""
        return tuple(i for i, (_, leaf) in self.outputs.items() if leaf.grad is not None)


@final
class Hook:
    """A hook that becomes one that does nothing in a copy of its module."""

    def __init__(self, call: Callable[..., Any] | None = None) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        """The hook's own result; None from a copy."""
        return None if self._call is None else self._call(*args)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Hook, ())


@final
class OutputRecorder:
    """Hooks on the module that is trained.

    Passes outside a batch of the private loader, in evaluation mode or without gradients are left alone.
    Dropout draws from a named stream, so that an engine can repeat a pass; its key comes from torch's
    generator, which a script may have seeded.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = weakref.ref(module)
        self._engine = GraphEngine()
        self._known = KnownCalls()
        self._size: int | None = None
        self._passes: list[Pass] = []
        self._open: tuple[Pass, ExitStack] | None = None
        self._selected: tuple[int, ...] | None = None
        self._quiet = False
        self._handles = (
            module.register_forward_pre_hook(Hook(self._before), with_kwargs=True),
            module.register_forward_hook(Hook(self._after), with_kwargs=True, always_call=True),
        )

    def remove(self) -> None:
        """Leave the module as it was."""
        for handle in self._handles:
            handle.remove()
        self.end()

    def begin(self, size: int) -> None:
        """The next passes are on a batch of ``size`` examples."""
        self._passes.clear()
        self._size = size

    def end(self) -> None:
        """Forget the batch, and with it the graphs."""
        self._passes.clear()
        self._size = None

    @property
    def has_gradient(self) -> bool:
        """Whether a backward pass has reached an output."""
        return any(x.reached() for x in self._passes)

    def gradients(self, scale: float, groups: GroupMap) -> PerExampleGrads:
        """Per-example gradients of the parameters.

        Args:
            scale: from the gradient of the loop's loss to that of an example's own.
            groups: which parameters are clipped together.

        Raises:
            LoopError: the loss does not come from one pass whose outputs hold one row an example.
            UnsupportedModule: examples influence each other, or no engine is exact for this module.
        """
        module = self._module()
        assert module is not None
        seen = self._the_pass()
        used = seen.reached()
        output_grads: list[Tensor] = []
        for i in used:
            leaf = seen.outputs[i][1]
            _require_rows(leaf, len(seen.inputs[0]))
            assert leaf.grad is not None
            output_grads.append(leaf.grad * scale)
        recorded = RecordedCall(
            engine=self._engine,
            module=module,
            inputs=seen.inputs,
            arguments=seen.call,
            output=tuple(seen.outputs[i][0] for i in used),
            draws=seen.draws,
        )
        with self._only(used):
            return recorded.gradients(output_grads, groups)

    def _the_pass(self) -> Pass:
        reached = [x for x in self._passes if x.reached()]
        if not reached:
            raise LoopError(
                "loss.backward() must reach the module's outputs before optimizer.step(), found no gradient "
                "there; call the module itself in training mode, and let it return tensors, in lists, tuples "
                "or dictionaries"
            )
        if len(reached) > 1:
            raise LoopError(
                f"a loss must come from one forward pass of the module, found {len(reached)}; put what "
                "belongs to an example in its row, and call the module once"
            )
        return reached[0]

    @contextmanager
    def _only(self, used: tuple[int, ...] | None) -> Iterator[None]:
        """Engines that run the module see the outputs that the loss uses, and nothing is recorded."""
        self._quiet, self._selected = True, used
        try:
            yield
        finally:
            self._quiet, self._selected = False, None

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        mine = module is self._module() and not self._quiet and self._open is None
        if not (mine and self._size and module.training and torch.is_grad_enabled()):
            return
        _refuse_differentiable(args, kwargs)
        found = self._known.find(args, kwargs, self._size)
        if found is None:
            raise LoopError(
                f"the module must be called on the whole batch, found no argument with {self._size} rows; "
                "pass the loader's batch, examples on the first axis"
            )
        call, inputs = found
        seed = int(torch.randint(2**62, ()).item())
        seen = Pass(call=call, inputs=inputs, draws=Keyed().open([seed]).at(0))
        stack = ExitStack()
        stack.enter_context(self._named_dropout(module, seen))
        self._open = (seen, stack)

    @contextmanager
    def _named_dropout(self, module: nn.Module, seen: Pass) -> Iterator[None]:
        mask = torch.ones(1, len(seen.inputs[0]), dtype=torch.bool, device=seen.inputs[0].device)
        batch = Batch(inputs=tuple(x[None] for x in seen.inputs), targets=(), mask=mask)
        params = {name: p[None] for name, p in trainable_parameters(module).items()}
        constants = {name: value[None] for name, value in constant_tensors(module).items()}
        loss = PerExampleLoss(
            module=module, criterion=seen.call.any_loss, constants=constants, arguments=seen.call
        )
        with self._only(None):
            found = self._engine.dropouts(loss, params, batch)
        uniforms = [u[0] for u in draw_uniforms(found, len(seen.inputs[0]), seen.draws)]
        with forward_pass(module, found, uniforms):
            yield

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
        del args, kwargs
        if module is not self._module():
            return None
        if self._quiet:
            return None if self._selected is None else _selected(output, self._selected)
        if self._open is None:
            return None
        seen, stack = self._open
        self._open = None
        stack.close()
        if output is None:  # the pass failed
            return None
        values, spec = pytree.tree_flatten(output)
        cut = [_cut(i, value, seen) for i, value in enumerate(values)]
        self._passes.append(seen)
        return pytree.tree_unflatten(cut, spec)


def _cut(place: int, value: Any, seen: Pass) -> Any:
    if not (isinstance(value, Tensor) and value.requires_grad):
        return value
    leaf = value.detach().requires_grad_()
    seen.outputs[place] = (value, leaf)
    # A leaf cannot be written into, and losses do that (masked logits); a copy of it can.
    return leaf.clone()


def _selected(output: Any, used: Sequence[int]) -> tuple[Tensor, ...]:
    """The same outputs as in the recorded pass."""
    leaves = pytree.tree_leaves(output)
    return tuple(leaves[i] for i in used)


def _refuse_differentiable(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """What flows back through an argument would be lost: the loop's backward pass ends at the outputs."""
    for x in pytree.tree_leaves((args, dict(kwargs))):
        if isinstance(x, Tensor) and x.requires_grad:
            raise LoopError(
                "what the module is called with must not require gradients, found an argument of shape "
                f"{tuple(x.shape)} that does; compute it inside the module, or detach it"
            )


def _require_rows(leaf: Tensor, size: int) -> None:
    if not is_rows(leaf, size):
        raise LoopError(
            f"outputs that the loss uses must hold one row an example, found shape {tuple(leaf.shape)} for a "
            f"batch of {size}; return what belongs to an example in its row, and compute the loss outside"
        )
