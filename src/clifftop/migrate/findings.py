"""What an old epsilon rested on, and what will not run: one line each."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from clifftop.migrate.facts import Called, Script, training_loader
from clifftop.migrate.imports import rewrite


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to know.

    Attributes:
        line: in the script; 0 for the script as a whole.
        topic: a word for it.
        message: what it was, and what it is now.
        blocks: the script will not run before a person changes it.
    """

    line: int
    topic: str
    message: str
    blocks: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


def examine(source: str) -> tuple[Finding, ...]:
    """Everything found in ``source``, by line.

    >>> found = examine("engine.make_private(data_loader=x, poisson_sampling=False)")
    >>> [finding.topic for finding in found]
    ['sampling']
    """
    script = Script(source)
    found = [finding for rule in _RULES for finding in rule(script)]
    found += [
        Finding(
            line=missing.line,
            topic="missing",
            message=f"{missing.name} is not in clifftop.compat.opacus; see docs/opacus.md",
            blocks=True,
        )
        for missing in rewrite(source).missing
    ]
    return tuple(sorted(found, key=lambda finding: finding.line))


def _private_calls(script: Script) -> Iterator[Called]:
    yield from script.calls("make_private", "make_private_with_epsilon")


def _sampling(script: Script) -> Iterator[Finding]:
    for call in _private_calls(script):
        if call.keywords.get("poisson_sampling") is False:
            yield Finding(
                line=call.line,
                topic="sampling",
                message=(
                    "poisson_sampling=False: the loader's own batches were accounted as Poisson samples; "
                    "now epsilon is that of one release an epoch, without amplification"
                ),
            )
            return
        loader = training_loader(script, call)
        if loader is None:
            continue
        yield Finding(
            line=loader.line,
            topic="rate",
            message=(
                "the sampling rate was 1 / len(data_loader) and the divisor int(n / len(data_loader)); "
                "now they are batch_size / n and batch_size"
            ),
        )
        if loader.keywords.get("drop_last") is True:
            yield Finding(
                line=loader.line,
                topic="rate",
                message=(
                    "drop_last=True raised the sampling rate to 1 / floor(n / batch_size); now it sets "
                    "the number of steps in an epoch alone"
                ),
            )


def _samplers(script: Script) -> Iterator[Finding]:
    for call in _private_calls(script):
        loader = training_loader(script, call)
        if loader is not None and ("sampler" in loader.nodes or "batch_sampler" in loader.nodes):
            yield Finding(
                line=loader.line,
                topic="sampler",
                message=(
                    "the loader's own sampler was dropped without a word; now it is refused: leave it "
                    "out, and use torch.utils.data.Subset for a part of the data"
                ),
                blocks=True,
            )


def _secure_mode(script: Script) -> Iterator[Finding]:
    for call in script.calls("PrivacyEngine"):
        if call.keywords.get("secure_mode") is not True:
            yield Finding(
                line=call.line,
                topic="noise",
                message=(
                    "secure_mode was off: the noise came from torch's generator, which torch.manual_seed "
                    "makes known; now it comes from a cryptographic stream keyed by the operating system"
                ),
            )
    for call in _private_calls(script):
        if "noise_generator" in call.nodes:
            yield Finding(
                line=call.line,
                topic="noise",
                message=(
                    "noise_generator: whoever knows its seed can subtract the noise; leave it out for a "
                    "release"
                ),
            )


_ACCOUNTANTS: Mapping[str, str] = {
    "rdp": "Renyi accounting, which is above the truth",
    "gdp": "a central limit, which can be below the truth",
    "prv": "a numerical estimate with an error of up to 0.01",
}


def _accountant(script: Script) -> Iterator[Finding]:
    for call in script.calls("PrivacyEngine"):
        name = call.keywords.get("accountant", "prv")
        if name in _ACCOUNTANTS:
            yield Finding(
                line=call.line,
                topic="accountant",
                message=(
                    f"accountant {name!r} is {_ACCOUNTANTS[name]}; now epsilon is the upper end of a "
                    "certified interval"
                ),
            )


def _batch_norm(script: Script) -> Iterator[Finding]:
    for call in script.calls("fix", "fix_and_validate", "get_compatible_module"):
        yield Finding(
            line=call.line,
            topic="normalisation",
            message=(
                "batch normalisation was replaced by fresh group normalisation; now its trained scale and "
                "shift are kept (its statistics are not: they are the data's own), and no group holds one "
                "channel"
            ),
        )


def _clipping(script: Script) -> Iterator[Finding]:
    for call in _private_calls(script):
        clipping = call.keywords.get("clipping", "flat")
        if clipping not in ("flat", None):
            yield Finding(
                line=call.line,
                topic="clipping",
                message=(f"clipping={clipping!r} is refused: bound the norm of an example's whole gradient"),
                blocks=True,
            )
        for name, value, why in (
            (
                "rand_on_empty",
                True,
                "a made-up example in an empty batch doubles what one example can change",
            ),
            ("batch_first", False, "examples lie on the first axis; transpose inside the module"),
        ):
            if call.keywords.get(name) is value:
                yield Finding(
                    line=call.line,
                    topic="arguments",
                    message=f"{name}={value} is refused: {why}",
                    blocks=True,
                )


def _per_example(script: Script) -> Iterator[Finding]:
    for node in _attributes(script, "grad_sample"):
        yield Finding(
            line=node,
            topic="gradients",
            message=(
                "p.grad_sample does not exist: per-example gradients are made in the step and never stored"
            ),
            blocks=True,
        )


def _attributes(script: Script, name: str) -> Iterator[int]:

    for node in ast.walk(script.tree):
        if isinstance(node, ast.Attribute) and node.attr == name:
            yield node.lineno


def _before_one(script: Script) -> Iterator[Finding]:
    for call in script.calls("PrivacyEngine"):
        if call.node.args or not call.nodes.keys() <= {"accountant", "secure_mode"}:
            yield Finding(
                line=call.line,
                topic="old",
                message="this PrivacyEngine takes a module, as Opacus did before 1.0: use make_private",
                blocks=True,
            )


def _empty_batches(script: Script) -> Iterator[Finding]:
    for call in _private_calls(script):
        if call.keywords.get("poisson_sampling") is not False:
            yield Finding(
                line=call.line,
                topic="empty",
                message=(
                    "a batch that sampling leaves empty takes its step, noise alone, inside the loader: "
                    "loops see fewer batches than steps were taken"
                ),
            )


def _checkpoints(script: Script) -> Iterator[Finding]:
    for call in script.calls("load_checkpoint"):
        yield Finding(
            line=call.line,
            topic="checkpoint",
            message=(
                "checkpoints were unpickled as any object; now weights and numbers alone are read, and "
                "names may have Opacus' prefix '_module.'"
            ),
        )


_RULES: tuple[Callable[[Script], Iterator[Finding]], ...] = (
    _sampling,
    _samplers,
    _secure_mode,
    _accountant,
    _batch_norm,
    _clipping,
    _per_example,
    _before_one,
    _empty_batches,
    _checkpoints,
)
