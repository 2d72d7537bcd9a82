"""The bare step: the same by graph and by autograd, and it knows when a graph no longer fits."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from clifftop.capture import CapturedSumming, Graphs, PrivateStep
from clifftop.capture.buckets import bucket
from clifftop.capture.step import is_plain_sgd
from clifftop.capture.tracing import capture
from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
from clifftop.events import NeighboringRelation, NoOp, SelfComposed
from clifftop.gradients import UnsupportedModule
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson
from clifftop.training import Trainer

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")


def plan(*, sigma: float = 1.0, clip: float = 0.5) -> PrivacyPlan:
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=0.2),
        clipping=Flat(clip_norm=clip),
        noise=Gaussian(noise_multiplier=sigma),
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=8,
    )


def model(*, dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)).double()


def stepper(module: nn.Module, *, graphs: Graphs | None, optimizer=None, sigma: float = 1.0) -> PrivateStep:
    return PrivateStep(
        module=module,
        criterion=cross_entropy,
        optimizer=optimizer or torch.optim.SGD(module.parameters(), lr=0.3),
        plan=plan(sigma=sigma),
        seed=7,
        graphs=graphs,
    )


def batch(size: int, seed: int = 0) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    rng = torch.Generator().manual_seed(seed)
    return (torch.randn(size, 5, generator=rng).double(),), (torch.randint(3, (size,), generator=rng),)


def flat(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def trained(*, graphs: Graphs | None, sizes=(6, 9, 0, 1, 6), optimizer=None, spoil=None) -> Tensor:
    module = model()
    step = stepper(module, graphs=graphs, optimizer=optimizer and optimizer(module.parameters()))
    for i, size in enumerate(sizes):
        inputs, targets = batch(size, i)
        if spoil is not None:
            spoil(i, inputs)
        step(inputs, targets)
    assert step.steps_done == len(sizes)
    return flat(module)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.3),
        lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9, weight_decay=0.01),
        lambda p: torch.optim.Adam(p, lr=0.05),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_by_graph_and_by_autograd_alike(optimizer):
    """Batches of any size, empty ones too, with dropout and noise."""
    by_graph, by_autograd = (trained(graphs=g, optimizer=optimizer) for g in (Graphs(), None))
    torch.testing.assert_close(by_graph, by_autograd, rtol=1e-12, atol=1e-14)


def test_a_number_that_is_not_finite_is_looked_at():
    def spoil(i: int, inputs: tuple[Tensor, ...]) -> None:
        if i == 1:
            inputs[0][2] = math.nan

    by_graph, by_autograd = (trained(graphs=g, spoil=spoil) for g in (Graphs(), None))
    torch.testing.assert_close(by_graph, by_autograd, rtol=1e-12, atol=1e-14)
    assert torch.isfinite(by_graph).all()
    clean = trained(graphs=Graphs())
    assert not torch.allclose(by_graph, clean)


def test_the_noise_has_its_size_by_graph():
    """With zero gradients a step is noise alone: its variance over 1,500 numbers, at 6 standard errors
    (false alarm 2e-9), and twice the multiplier must fail."""
    module = nn.Linear(499, 3, bias=False).double()
    nn.init.zeros_(module.weight)
    step = PrivateStep(
        module=module,
        criterion=lambda output, target: 0 * output.sum(1),
        optimizer=torch.optim.SGD(module.parameters(), lr=1.0),
        plan=plan(sigma=2.0),
        seed=3,
    )
    step((torch.randn(6, 499).double(),), (torch.zeros(6),))
    expected = 2.0 * 0.5 / 8
    error = expected**2 * math.sqrt(2 / module.weight.numel())
    found = module.weight.detach().square().mean().item()
    assert abs(found - expected**2) < 6 * error
    assert abs(found - (2 * expected) ** 2) > 6 * error


def test_the_trainer_takes_a_captured_step_too():
    def run(summing) -> Tensor:
        module = model()
        rng = torch.Generator().manual_seed(1)
        trainer = Trainer(
            module=module,
            criterion=cross_entropy,
            optimizer=torch.optim.SGD(module.parameters(), lr=0.2, momentum=0.9),
            plan=plan(),
            inputs=(torch.randn(40, 5, generator=rng).double(),),
            targets=(torch.randint(3, (40,), generator=rng),),
            seed=11,
            summing=summing,
        )
        trainer.fit(steps=12)
        return flat(module)

    torch.testing.assert_close(run(CapturedSumming()), run(None), rtol=1e-11, atol=1e-13)


class Tempered(nn.Module):
    """Its Python code reads an attribute that a schedule changes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.temperature = nn.Linear(5, 3).double(), 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) / self.temperature


def test_an_attribute_that_changes_leads_to_another_graph():
    def run(graphs: Graphs | None) -> Tensor:
        torch.manual_seed(0)
        module = Tempered()
        step = stepper(module, graphs=graphs)
        for module.temperature in (1.0, 3.0, 1.0, 0.5):
            step(*batch(6))
        return flat(module)

    torch.testing.assert_close(run(Graphs()), run(None), rtol=1e-12, atol=1e-14)


def test_noise_follows_the_clipping_rules_state():
    step = stepper(model(dropout=0.0), graphs=Graphs())
    for bound in (0.5, 2.0, 2.0, 0.5):
        clipping = replace(step._state.clipping, clip_norm=torch.tensor([bound], dtype=torch.float64))
        step._state = replace(step._state, clipping=clipping)
        for _ in range(2):
            step(*batch(6))
            assert step._std is not None
            assert float(step._std) == bound / 8


class Optional(nn.Module):
    """Its Python code asks whether an attribute is there at all."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.factor = nn.Linear(5, 3).double(), None

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if self.factor is None else self.layer(x) * self.factor


def test_an_attribute_that_is_set_later_leads_to_another_graph():
    def run(graphs: Graphs | None) -> Tensor:
        torch.manual_seed(0)
        module = Optional()
        step = stepper(module, graphs=graphs)
        for module.factor in (None, 2.0, None):
            step(*batch(6))
        return flat(module)

    torch.testing.assert_close(run(Graphs()), run(None), rtol=1e-12, atol=1e-14)


def test_a_layer_that_is_replaced_leads_to_another_graph():
    def run(graphs: Graphs | None) -> Tensor:
        module = model(dropout=0.0)
        step = stepper(module, graphs=graphs)
        for activation in (nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.5)):
            module[1] = activation
            step(*batch(6))
        module[1].negative_slope = 0.1
        step(*batch(6))
        return flat(module)

    torch.testing.assert_close(run(Graphs()), run(None), rtol=1e-12, atol=1e-14)


def test_two_inputs_that_were_one_tensor_when_traced():
    """An autoencoder whose first batch is its own target; later ones are not."""

    def run(graphs: Graphs | None) -> Tensor:
        torch.manual_seed(0)
        module = nn.Linear(5, 5).double()
        step = PrivateStep(
            module=module,
            criterion=lambda output, target: (output - target).square().sum(1),
            optimizer=torch.optim.SGD(module.parameters(), lr=0.3),
            plan=plan(),
            seed=7,
            graphs=graphs,
        )
        (x,), (y,) = batch(6)[0], batch(6, 1)[0]
        step((x,), (x,))
        step((x,), (y,))
        return flat(module)

    torch.testing.assert_close(run(Graphs()), run(None), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_compiler)])
def test_inputs_in_another_order_of_memory(compiled: bool):
    def run(graphs: Graphs | None) -> Tensor:
        module = model(dropout=0.0)
        step = stepper(module, graphs=graphs)
        (x,), targets = batch(6)
        step((x,), targets)
        step((x.t().contiguous().t(),), targets)
        return flat(module)

    found = run(Graphs(compiled=compiled))
    torch.testing.assert_close(found, run(None), rtol=1e-12, atol=1e-14)


@needs_compiler
def test_compiled_and_not_alike():
    compiled, eager = (trained(graphs=Graphs(compiled=c), sizes=(6, 9, 6)) for c in (True, False))
    torch.testing.assert_close(compiled, eager, rtol=1e-12, atol=1e-14)


def test_a_gradient_never_lacks_its_noise(monkeypatch: pytest.MonkeyPatch):
    """Interrupted before the noise, the parameters hold the last step's gradients, unchanged."""
    module = model(dropout=0.0)
    step = stepper(module, graphs=Graphs())
    step(*batch(6))
    step(*batch(6, 1))
    before = [p.grad.clone() for p in module.parameters()]

    def interrupted(*args, **kwargs) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "_add_noise", interrupted)
    for seed in (2, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            step(*batch(6, seed))
    assert all(torch.equal(p.grad, old) for p, old in zip(module.parameters(), before, strict=True))


def test_eval_mode_is_another_graph():
    module = model()
    step, other = stepper(module, graphs=Graphs()), stepper(module.eval(), graphs=None)
    module.train()
    step(*batch(6))
    module.eval()
    before = flat(module)
    step(*batch(6))
    by_graph = flat(module) - before
    with torch.no_grad():
        for p, old in zip(
            module.parameters(), before.split([p.numel() for p in module.parameters()]), strict=True
        ):
            p.copy_(old.view(p.shape))
    other.steps_done = 1
    other(*batch(6))
    torch.testing.assert_close(flat(module) - before, by_graph, rtol=1e-12, atol=1e-14)


class Branching(nn.Module):
    """Control flow on values: cannot be captured."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x)
        return out if float(self.layer.weight.detach().sum()) > -1e9 else -out


def test_what_cannot_be_captured_goes_the_ordinary_way():
    def run(graphs: Graphs | None) -> Tensor:
        torch.manual_seed(0)
        module = Branching()
        step = stepper(module, graphs=graphs)
        for i in range(3):
            step(*batch(6, i))
        return flat(module)

    torch.testing.assert_close(run(Graphs()), run(None), rtol=1e-12, atol=1e-14)


def test_a_batch_norm_is_refused_by_graph_as_well():
    module = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)).double()
    with pytest.raises(UnsupportedModule, match="BatchNorm1d"):
        stepper(module, graphs=Graphs())(*batch(6))


def test_it_says_what_was_released():
    step = stepper(model(), graphs=Graphs())
    assert step.event(num_examples=40) == NoOp()
    for i in range(3):
        step(*batch(4, i))
    event = step.event(num_examples=40)
    assert event == plan().event(steps=3, num_examples=40)
    assert isinstance(event, SelfComposed)


def test_a_plan_without_a_public_batch_size_is_refused():
    from clifftop.sampling import FixedOrder

    fixed = replace(
        plan(),
        sampler=FixedOrder(batch_size=4),
        neighboring_relation=NeighboringRelation.ZERO_OUT,
        expected_batch_size=None,
    )
    module = model()
    with pytest.raises(ValueError, match="needs a public batch size"):
        PrivateStep(
            module=module,
            criterion=cross_entropy,
            optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
            plan=fixed,
        )


def test_plain_sgd_is_told_from_every_other():
    p = [nn.Parameter(torch.zeros(2))]
    assert is_plain_sgd(torch.optim.SGD(p, lr=0.1))
    others = [
        torch.optim.SGD(p, lr=0.1, momentum=0.9),
        torch.optim.SGD(p, lr=0.1, weight_decay=0.1),
        torch.optim.SGD(p, lr=0.1, maximize=True),
        torch.optim.SGD(p, lr=torch.tensor(0.1)),
        torch.optim.Adam(p),
    ]
    hooked, scheduled = torch.optim.SGD(p, lr=0.1), torch.optim.SGD(p, lr=0.1)
    hooked.register_step_post_hook(lambda *args: None)
    torch.optim.lr_scheduler.StepLR(scheduled, 1)
    assert not any(map(is_plain_sgd, [*others, hooked, scheduled]))


def test_a_shortcut_that_changes_a_number_is_caught(monkeypatch: pytest.MonkeyPatch):
    """The negative control of every capture: a pass that drops an operation."""
    from clifftop.capture import tracing

    def broken(graph, arguments):
        for node in graph.graph.nodes:
            if node.target is torch.ops.aten.sin.default:
                node.replace_all_uses_with(node.args[0])
        graph.recompile()
        return graph

    monkeypatch.setattr(tracing, "shorten", broken)
    with pytest.raises(ArithmeticError, match="must give what it was traced from"):
        capture(lambda xs: [xs[0].sin() * 2], [torch.randn(3)])


def test_axes_of_size_one_and_roots_of_squares_are_dropped():
    def function(xs: list[Tensor]) -> list[Tensor]:
        a, c = xs
        squares = torch.linalg.vector_norm(a, dim=-1)[None, :, None].square()
        weights = (c[:, None, None] / (squares.sqrt() + 1e-3)).clamp(max=1)[0]
        return [weights.unbind(-1)[0] @ a, squares.sum()]

    make = lambda: [torch.randn(4, 3, dtype=torch.float64), torch.rand(1, dtype=torch.float64)]  # noqa: E731
    captured = capture(function, make())
    assert captured.num_operations <= 9
    other = make()
    for found, expected in zip(captured(other), function(other), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


def test_writes_into_new_tensors_alone_are_replaced():
    def function(xs: list[Tensor]) -> list[Tensor]:
        a, places = xs
        total = torch.zeros_like(a).index_add_(0, places, a)
        held = torch.zeros_like(a)
        view = held[1:]
        held.add_(total)
        return [total.index_add_(0, places, a), view * 1.0]

    places = torch.tensor([2, 0, 2])
    captured = capture(function, [torch.randn(3, 2), places])
    other = torch.randn(3, 2)
    for found, expected in zip(captured([other, places]), function([other, places]), strict=True):
        assert torch.equal(found, expected)


def test_results_are_written_where_they_are_wanted():
    def function(xs: list[Tensor]) -> list[Tensor]:
        a, b = xs
        product = a @ b
        return [product, product, (a @ a).view(-1), a + 0, (b @ b).sum(0)]

    xs = [torch.randn(3, 3), torch.randn(3, 3)]
    captured = capture(function, xs, into=4)
    other = [torch.randn(3, 3), torch.randn(3, 3)]
    expected = function(other)
    given = [torch.full_like(x, math.nan) for x in expected[:4]]
    rest = captured(other, given)
    for found, wanted in zip([*given, *rest], expected, strict=True):
        assert torch.equal(found, wanted)


def test_a_closed_function_reads_its_arguments_alone():
    own = torch.randn(3)
    capture(lambda xs: [xs[0] + 1], [torch.randn(3)], closed=True)
    with pytest.raises(ValueError, match="arguments alone"):
        capture(lambda xs: [xs[0] + own], [torch.randn(3)], closed=True)


def test_a_shortened_graph_gives_the_same_bits():
    def function(xs: list[Tensor]) -> list[Tensor]:
        a, b = xs
        twice = [(a.unsqueeze(0) @ b).squeeze(0), (a.unsqueeze(0) @ b).squeeze(0)]
        kept = torch.where(torch.ones_like(twice[0], dtype=torch.bool), twice[0], 0)
        return [kept + twice[1].conj(), torch.view_as_complex(torch.stack([a, a], -1)).conj().imag]

    xs = [torch.randn(4), torch.randn(4, 4)]
    captured = capture(function, xs)
    for found, expected in zip(captured(xs), function(xs), strict=True):
        assert torch.equal(found, expected)
    other = [torch.randn(4), torch.randn(4, 4)]
    for found, expected in zip(captured(other), function(other), strict=True):
        assert torch.equal(found, expected)


def test_few_graphs_serve_poisson_batches():
    module = model(dropout=0.0)
    step = stepper(module, graphs=Graphs())
    for i, size in enumerate(range(100, 140)):
        step(*batch(size, i))
    assert len(step._quick) <= 20  # ten sizes, each filled up or not
    assert step.steps_done == 40


def test_few_sizes_serve_all_batches():
    sizes = {bucket(n) for n in range(200, 313)}
    assert len(sizes) <= 12
    assert all(n <= bucket(n) <= 1.07 * n + 2 for n in range(1, 5000))
