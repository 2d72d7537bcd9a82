"""What a script says of its run in plain numbers: calls, literals, constants, and defaults of arguments."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

_OPERATIONS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Pow: lambda a, b: a**b if abs(b) < 100 else None,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run in numbers; None where the script does not say.

    Attributes:
        noise_multiplier: given, or None where it is calibrated.
        target_epsilon: to which the noise is calibrated.
        delta: of the epsilon that the script reports.
        batch_size: of the training loader.
        num_examples: of the training data; scripts seldom say it.
        epochs: passes over the loader.
        accountant: Opacus' name of it.
        poisson: whether batches are Poisson samples.
        drop_last: whether the loader leaves a small last batch out.
    """

    noise_multiplier: float | None = None
    target_epsilon: float | None = None
    delta: float | None = None
    batch_size: int | None = None
    num_examples: int | None = None
    epochs: int | None = None
    accountant: str = "prv"
    poisson: bool = True
    drop_last: bool = False

    def updated(self, **known: object) -> Run:
        """The same with what is not None."""
        return replace(self, **{name: value for name, value in known.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Called:
    """A call, with the keywords whose values are plain; the others are None."""

    name: str
    line: int
    positional: tuple[Any, ...]
    keywords: Mapping[str, Any]
    nodes: Mapping[str, ast.expr]
    node: ast.Call


@final
class Script:
    """A parsed script: its calls by name, and the values that names stand for."""

    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.values: dict[str, Any] = {}
        self.assigned: dict[str, ast.expr] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                self._assign(node.targets[0], node.value)
            if isinstance(node, ast.Call) and _name(node.func) == "add_argument":
                self._argument(node)

    def calls(self, *names: str) -> Iterator[Called]:
        """Calls of a function or method of one of these names, in order."""
        found = [n for n in ast.walk(self.tree) if isinstance(n, ast.Call) and _name(n.func) in names]
        for node in sorted(found, key=lambda n: n.lineno):
            nodes = {k.arg: k.value for k in node.keywords if k.arg}
            yield Called(
                name=_name(node.func),
                line=node.lineno,
                positional=tuple(self.value(a) for a in node.args),
                keywords={name: self.value(value) for name, value in nodes.items()},
                nodes=nodes,
                node=node,
            )

    def value(self, node: ast.expr | None) -> Any:
        """The plain value of an expression; None where it has none that can be read."""
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name) | ast.Attribute(attr=name):
                return self.values.get(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self.value(operand)
                return -value if isinstance(value, (int, float)) else None
            case ast.BinOp(left=left, op=op, right=right):
                return _computed(op, self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id="int" | "float" as kind), args=[only]):
                value = self.value(only)
                return {"int": int, "float": float}[kind](value) if isinstance(value, (int, float)) else None
            case _:
                return None

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.assigned.setdefault(target.id, value)
            plain = self.value(value)
            if plain is not None:
                self.values.setdefault(target.id, plain)

    def _argument(self, node: ast.Call) -> None:
        """``args.batch_size`` stands for the default of ``--batch-size``."""
        flags = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        keywords = {k.arg: k.value for k in node.keywords}
        plain = self.value(keywords.get("default"))
        long = next((f for f in flags if f.startswith("--")), flags[-1] if flags else "")
        name = self.value(keywords.get("dest")) or long.lstrip("-").replace("-", "_")
        if plain is not None:
            self.values.setdefault(name, plain)


def read_facts(source: str) -> Run:
    """What ``source`` says of its private training run.

    >>> script = '''
    ... engine = PrivacyEngine(accountant="rdp")
    ... loader = DataLoader(data, batch_size=BATCH)
    ... engine.make_private(data_loader=loader, noise_multiplier=2 * 0.5)
    ... BATCH = 256
    ... '''
    >>> facts = read_facts(script)
    >>> facts.accountant, facts.noise_multiplier, facts.batch_size
    ('rdp', 1.0, 256)
    """
    script = Script(source)
    private = next(script.calls("make_private", "make_private_with_epsilon"), None)
    engine = next(script.calls("PrivacyEngine"), None)
    keywords: Mapping[str, Any] = private.keywords if private else {}
    loader = training_loader(script, private)
    sizes: Mapping[str, Any] = loader.keywords if loader else {}
    positional = loader.positional if loader else ()
    accountant = engine.keywords.get("accountant") if engine else None
    return Run().updated(
        noise_multiplier=_number(keywords.get("noise_multiplier")),
        target_epsilon=_number(keywords.get("target_epsilon")),
        delta=_number(keywords.get("target_delta")) or _delta(script),
        batch_size=_whole(sizes.get("batch_size", positional[1] if len(positional) > 1 else None)),
        epochs=_whole(keywords.get("epochs")) or _epochs(script),
        accountant=accountant if isinstance(accountant, str) else None,
        poisson=False if keywords.get("poisson_sampling") is False else None,
        drop_last=True if sizes.get("drop_last") is True else None,
    )


def training_loader(script: Script, private: Called | None) -> Called | None:
    """The call that made the data loader which is made private, if it can be told."""
    loaders = list(script.calls("DataLoader"))
    handed = private.nodes.get("data_loader") if private else None
    made = script.assigned.get(handed.id) if isinstance(handed, ast.Name) else handed
    return next((x for x in loaders if x.node is made), loaders[0] if len(loaders) == 1 else None)


def _delta(script: Script) -> float | None:
    for call in script.calls("get_epsilon", "get_privacy_spent"):
        found = call.keywords.get("delta", call.positional[0] if call.positional else None)
        if _number(found) is not None:
            return _number(found)
    return None


def _epochs(script: Script) -> int | None:
    """From ``for epoch in range(EPOCHS)``, or a constant of that name."""
    for node in ast.walk(script.tree):
        if isinstance(node, ast.For) and "epoch" in ast.unparse(node.target).lower():
            for call in ast.walk(node.iter):
                if isinstance(call, ast.Call) and _name(call.func) in ("range", "trange"):
                    ends = [script.value(a) for a in call.args]
                    if all(isinstance(x, int) for x in ends) and 1 <= len(ends) <= 2:
                        return len(range(*ends))
    return next((_whole(v) for k, v in script.values.items() if k.lower() in ("epochs", "num_epochs")), None)


def _computed(op: ast.operator, left: Any, right: Any) -> Any:
    numbers = all(isinstance(x, (int, float)) for x in (left, right))
    operation = _OPERATIONS.get(type(op))
    if not numbers or operation is None:
        return None
    try:
        return operation(left, right)
    except (ArithmeticError, ValueError):
        return None


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
