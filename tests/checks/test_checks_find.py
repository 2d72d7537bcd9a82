"""What the checks find in the suite's problems, and in models that mix a batch in ways of their own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clifftop.checks import Status, check
from clifftop.gradients import LoopEngine, VmapEngine
from clifftop.testing.gradients import make_case, unchanged
from clifftop.testing.problems import BATCH_DEPENDENT, PROBLEMS, REFUSED

NO_SIGNAL = {"no parameter reaches the loss"}


def looked(problem, engine):
    """The report on a problem of the suite, at values that do not hide anything; nothing may change."""
    case = make_case(problem, num_runs=1)
    module = case.loss.module
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_((case.params | case.loss.constants)[name][0])
    with unchanged(case):
        return check(
            module=module,
            criterion=problem.criterion,
            inputs=[x[0] for x in case.batch.inputs],
            targets=[y[0] for y in case.batch.targets],
            engine=engine,
        )


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_no_false_alarm(problem):
    """Over the whole suite: the rate is 0, not small."""
    report = looked(problem, LoopEngine())
    found = [f.check for f in report.problems]
    assert found == (["reach"] if problem.name in NO_SIGNAL else []), str(report)


@pytest.mark.parametrize("problem", [*REFUSED, *BATCH_DEPENDENT], ids=lambda p: p.name)
def test_every_model_that_no_engine_may_train_is_found(problem):
    """Whatever the engine: the loop itself cannot see that examples mix."""
    report = looked(problem, LoopEngine())
    assert not report.ok
    message = report.problems[0].message
    assert "\n" not in message
    assert "found" in message
    assert "no engine can" in message
    assert ";" in message  # the remedy
    assert Status.REFUSED in {row.status for row in report.rows}


class Code(nn.Module):
    """A linear layer after some code, and one before."""

    def __init__(self, code):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 3)
        self.code = code

    def forward(self, x):
        return self.last(self.code(self.first(x)))


class Gated(nn.Module):
    """A branch with batch statistics behind a gate that starts closed."""

    def __init__(self):
        super().__init__()
        self.inner, self.gate = nn.Linear(4, 3), nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.inner(x) + self.gate * F.batch_norm(self.inner(x), None, None, training=True)


class RunningMean(nn.Module):
    """Subtracts a mean over the batches so far, kept in a buffer or beside it."""

    def __init__(self, *, buffer: bool):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        if buffer:
            self.register_buffer("mean", torch.zeros(3))
        else:
            self.mean = torch.zeros(3)

    def forward(self, x):
        hidden = self.linear(x)
        self.mean.lerp_(hidden.detach().mean(0).to(self.mean.dtype), 0.1)
        return hidden - self.mean


class Recurrent(nn.Module):
    def __init__(self, *, batch_first: bool):
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 5, batch_first=batch_first), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.rnn(x.unflatten(1, (1, 4)).expand(-1, 3, -1))[0].mean(1))


def sorted_over_batch(x):
    return x.sort(dim=0).values


def row_number(x):
    return x + torch.arange(len(x)).to(x)[:, None]


MIXING = {
    "mean before a layer": (lambda: Code(lambda x: x - x.mean(0)), "(Code) before 'last'"),
    "largest of the batch": (lambda: Code(lambda x: x / x.abs().max()), "(Code) before 'last'"),
    "sorted": (lambda: Code(sorted_over_batch), "(Code) before 'last'"),
    "cumulated": (lambda: Code(lambda x: x.cumsum(0)), "(Code) before 'last'"),
    "neighbour": (lambda: Code(lambda x: x - x.roll(1, 0)), "(Code) before 'last'"),
    "row number": (lambda: Code(row_number), "(Code) before 'last'"),
    "batch size": (lambda: Code(lambda x: x / len(x) ** 0.5), "(Code) before 'last'"),
    "detached mean": (lambda: Code(lambda x: x - x.detach().mean(0)), "(Code) before 'last'"),
    "closed gate": (Gated, "'(root)' (Gated)"),
    "mean in a buffer": (lambda: RunningMean(buffer=True), "'(root)' (RunningMean)"),
    "batch taken for time": (lambda: Recurrent(batch_first=False), "'rnn' (GRU)"),
    "a layer inside": (
        lambda: nn.Sequential(nn.Linear(4, 4), Code(sorted_over_batch), nn.Linear(3, 3)),
        "'1' (Code) before '1.last'",
    ),
}


def small(module, criterion=F.cross_entropy, *, size=8, dtype=torch.float32, seed=0, **more):
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 4, generator=rng).to(dtype)
    targets = torch.randint(3, (size,), generator=rng)
    if criterion is F.cross_entropy:
        criterion = nn.CrossEntropyLoss(reduction="none")
    return check(module=module.to(dtype), criterion=criterion, inputs=[inputs], targets=[targets], **more)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", MIXING)
def test_mixing_is_found_and_its_place_named(name, dtype):
    torch.manual_seed(0)
    build, place = MIXING[name]
    report = small(build(), dtype=dtype)
    assert [f.check for f in report.problems] == ["independence"], str(report)
    assert place in report.problems[0].message


def test_the_same_layers_without_mixing_pass():
    """The control of the test above: each probe lets through what treats examples apart."""
    torch.manual_seed(0)
    for model in (
        Code(lambda x: x - x.mean(1, keepdim=True)),
        Code(lambda x: x.sort(dim=1).values),
        Code(lambda x: x / x.abs().amax(1, keepdim=True)),
        Recurrent(batch_first=True),
    ):
        assert small(model).ok
        assert small(model, dtype=torch.bfloat16, engine=VmapEngine()).ok


def test_a_model_that_cannot_be_copied_is_probed_in_its_own_precision():
    class Shy(Code):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle")

    assert small(Shy(torch.tanh)).ok
    assert [f.check for f in small(Shy(lambda x: x - x.mean(0))).problems] == ["independence"]


def test_a_model_that_rounds_on_its_way_is_no_false_alarm():
    """In a float64 copy its losses are float64, and still carry float32's rounding."""

    class Rounding(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 300)

        def forward(self, x):
            hidden = self.linear(x).float()
            return ((hidden @ hidden.new_ones(300, 3)) / 7).to(x.dtype)

    torch.manual_seed(0)
    for seed in range(5):
        assert small(Rounding(), seed=seed).ok


def nearby_negatives(output, targets):
    scores = output @ output.t()
    return torch.logsumexp(scores, 1) - scores.diagonal() + 0 * targets


def weighed_over_batch(output, targets):
    losses = F.cross_entropy(output, targets, reduction="none")
    return losses * torch.softmax(losses.detach(), 0)


@pytest.mark.parametrize("criterion", [nearby_negatives, weighed_over_batch])
def test_a_criterion_that_compares_examples_is_found(criterion):
    torch.manual_seed(0)
    report = small(nn.Linear(4, 3), criterion)
    with pytest.raises(ValueError, match=r"in the criterion when .*no engine can.*one example at a time"):
        report.require()


def test_class_weights_are_not_taken_for_mixing():
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 5.0]), reduction="none")
    assert small(nn.Linear(4, 3), criterion).ok


def test_the_remedy_fits_the_layer():
    torch.manual_seed(0)
    assert "batch_first=True" in small(Recurrent(batch_first=False)).problems[0].message
    norm = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    assert "GroupNorm" in small(norm).problems[0].message
    assert "batch statistics" in small(Code(lambda x: x - x.mean(0))).problems[0].message


def test_batch_norm_in_eval_mode_passes():
    assert small(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()).ok


def test_state_outside_buffers_is_found():
    torch.manual_seed(0)
    model = RunningMean(buffer=False)
    report = small(model)
    assert [f.check for f in report.problems] == ["repeatable"]
    assert "'mean'" in report.warnings[0].message


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_examples_are_enough(size):
    torch.manual_seed(0)
    assert small(Code(torch.tanh), size=size).ok
    assert not small(Code(lambda x: x - x.mean(0)), size=size).ok


def test_a_model_that_needs_a_certain_size_is_named():
    report = small(Code(lambda x: x.view(5, 4)))
    assert [f.check for f in report.problems] == ["sizes"]
    assert "any number of examples" in report.problems[0].message
    report = small(Code(lambda x: x.squeeze()[:, :4]))
    assert "on 1 it fails in '(root)' (Code)" in report.problems[0].message


def test_equal_examples_that_cannot_be_changed_give_a_warning():
    report = check(
        module=nn.Sequential(nn.Embedding(5, 4), nn.Flatten()),
        criterion=nn.CrossEntropyLoss(reduction="none"),
        inputs=[torch.zeros(4, 1, dtype=torch.long)],
        targets=[torch.zeros(4, dtype=torch.long)],
    )
    assert report.ok
    assert any("no example could be changed" in f.message for f in report.warnings)
