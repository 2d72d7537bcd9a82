"""Parameters, devices, losses, writes in place: one clear line for each thing that is wrong."""

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from clifftop.checks import NotPrivate, Status, check
from clifftop.gradients import LoopEngine, VmapEngine

PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def looked(module, criterion=PER_EXAMPLE, **changes):
    torch.manual_seed(0)
    parts = {"inputs": [torch.randn(6, 4)], "targets": [torch.randint(3, (6,))]} | changes
    return check(module=module, criterion=criterion, **parts)


def refusal(report):
    with pytest.raises(NotPrivate) as caught:
        report.require()
    assert isinstance(caught.value, ValueError)
    message = str(caught.value)
    assert "\n" not in message
    return message


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


# ---------------------------------------------------------------- parameters and devices


def test_lazy_parameters():
    report = looked(nn.LazyLinear(3))
    message = refusal(report)
    assert "found 'weight', 'bias' not initialised; run the module once" in message
    assert report.rows[0].shape == ()
    assert "weight" in str(report)


def test_nothing_to_train():
    message = refusal(looked(mlp().requires_grad_(False)))
    assert "found 0 of 4 with requires_grad=True; unfreeze" in message


def test_parameters_that_are_not_finite():
    model = mlp()
    with torch.no_grad():
        model[2].bias[1] = torch.inf
    report = looked(model)
    assert "found NaN or infinity in '2.bias'; initialise" in refusal(report)
    assert [row.name for row in report.rows if row.status is Status.REFUSED] == ["2.bias"]


def test_parameters_on_two_devices():
    model = mlp()
    model[2].to("meta")
    message = refusal(looked(model))
    assert (
        "one device, found 2 ('0.weight' and 1 more on cpu, '2.weight' and 1 more on meta); move" in message
    )


def test_parameters_without_numbers():
    assert "on the meta device; call module.to_empty" in refusal(looked(mlp().to("meta")))


def test_data_on_another_device():
    message = refusal(looked(mlp(), inputs=[torch.randn(6, 4, device="meta")]))
    assert "found data on meta and parameters on cpu; move one of them" in message


def test_complex_parameters():
    class Rotation(nn.Module):
        def __init__(self):
            super().__init__()
            self.phase = nn.Parameter(torch.ones(4, dtype=torch.complex64))

        def forward(self, x):
            return (x * self.phase).real

    assert "must be real, found 'phase' with dtype=torch.complex64" in refusal(looked(Rotation()))


def test_tied_and_frozen_parameters_have_their_rows():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, 3).requires_grad_(False))
    report = looked(model)
    assert report.ok, str(report)
    assert [(row.name, row.tied, row.status) for row in report.rows] == [
        ("0.weight", ("2.weight",), Status.PROTECTED),
        ("0.bias", ("2.bias",), Status.PROTECTED),
        ("3.weight", (), Status.FROZEN),
        ("3.bias", (), Status.FROZEN),
    ]


def test_unequal_or_no_examples():
    with pytest.raises(ValueError, match=r"at least one, found lengths=\[5, 6\]; pass the examples"):
        looked(mlp(), targets=[torch.zeros(5, dtype=torch.long)])
    with pytest.raises(ValueError, match=r"found lengths=\[0\]"):
        looked(mlp(), inputs=[torch.zeros(0, 4)], targets=[torch.zeros(0, dtype=torch.long)])


def test_an_error_of_the_model_is_its_own():
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        looked(mlp(), inputs=[torch.randn(6, 7)])


# ---------------------------------------------------------------- the loss


@pytest.mark.parametrize(
    ("criterion", "found", "remedy"),
    [
        (nn.CrossEntropyLoss(), "found ()", "use reduction='none' instead of a mean"),
        (lambda out, y: F.cross_entropy(out, y).unsqueeze(0), "found (1,)", "use reduction='none' instead"),
        (lambda out, y: PER_EXAMPLE(out, y).unsqueeze(1), "found (5, 1)", r".squeeze(-1)"),
        (lambda out, y: out.square(), "found (5, 3)", "average over all axes but the first"),
        (lambda out, y: out.square().flatten(), "found (15,)", ".view(batch, 3).mean(1)"),
        (lambda out, y: out.square().t(), "found (3, 5)", "keep the examples on the first axis"),
        (lambda out, y: PER_EXAMPLE(out, y).tolist(), "found a list", "return the tensor itself"),
        (lambda out, y: out.argmax(1), "found dtype=torch.int64", "return floats"),
    ],
)
def test_losses_of_the_wrong_shape(criterion, found, remedy):
    message = refusal(looked(mlp(), criterion))
    assert found in message
    assert remedy in message


def test_losses_that_are_not_finite_name_no_example():
    """Numbers of examples are private; only that there are such may be said."""

    def criterion(out, y):
        return PER_EXAMPLE(out, y) + torch.where(torch.arange(len(out)) == 3, torch.nan, 0.0)

    message = refusal(looked(mlp(), criterion))
    assert "losses must be finite, found some" in message
    assert not any(character.isdigit() for character in message.replace("log(0)", "").replace("by 0", ""))


def test_examples_that_are_not_finite_name_no_example():
    inputs = torch.randn(6, 4)
    inputs[4, 2] = torch.nan
    message = refusal(looked(mlp(), inputs=[inputs]))
    assert "found NaN or infinity in the inputs; replace missing values" in message
    assert not any(map(str.isdigit, message))


def test_a_loss_that_no_parameter_reaches():
    message = refusal(looked(mlp(), lambda out, y: PER_EXAMPLE(out.detach(), y)))
    assert "must depend on the parameters, found no gradient in any of 4 on 5 example(s)" in message


def test_a_saddle_is_no_loss_that_nothing_reaches():
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.zeros(4, 2)), nn.Parameter(torch.zeros(2, 3))

        def forward(self, x):
            return x @ self.a @ self.b

    report = looked(Product())
    assert report.ok
    assert [f.message[:47] for f in report.warnings] == [
        "no parameter has a gradient at the values that t"[:47]
    ]
    assert {row.status for row in report.rows} == {Status.PROTECTED}


def test_an_adapter_that_starts_at_zero_is_no_warning():
    class Adapter(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 2), nn.Linear(2, 3)
            nn.init.zeros_(self.b.weight)
            self.idle = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.b(self.a(x))

    report = looked(Adapter())
    assert [row.name for row in report.rows if row.status is Status.UNUSED] == ["idle"]
    assert [
        "1 parameter(s) have no gradient on 5 example(s): 'idle'" in f.message for f in report.warnings
    ] == [True]


# ---------------------------------------------------------------- writes, state, randomness


class Writing(nn.Module):
    def __init__(self, write):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("count", torch.zeros(()))
        self.write = write

    def forward(self, x):
        self.write(self, x)
        return self.linear(x)


def scale_weight(module, x):
    with torch.no_grad():
        module.linear.weight.mul_(0.9)


def scale_weight_unseen(module, x):
    module.linear.weight.data.mul_(0.9)


@pytest.mark.parametrize("write", [scale_weight, scale_weight_unseen])
def test_a_forward_pass_that_writes_into_a_parameter(write):
    model = Writing(write)
    before = model.linear.weight.detach().clone()
    report = looked(model)
    assert "found that a forward pass writes into 'linear.weight'" in refusal(report)
    assert torch.equal(model.linear.weight, before)


@pytest.mark.parametrize(
    "write", [lambda m, x: x.add_(1), lambda m, x: x.data.add_(1)], ids=["seen", "unseen"]
)
def test_a_forward_pass_that_writes_into_its_inputs(write):
    inputs = torch.randn(6, 4)
    before = inputs.clone()
    message = refusal(looked(Writing(write), inputs=[inputs]))
    assert "must leave its inputs as they were" in message
    assert torch.equal(inputs, before)


def in_place(module, x):
    module.count.add_(1)


def rebound(module, x):
    module.count = module.count + 1


@pytest.mark.parametrize("write", [in_place, rebound])
def test_buffers_that_will_not_be_kept(write):
    model = Writing(write)
    report = looked(model)
    assert report.ok, str(report)
    assert "writes into the buffers 'count', which is not kept" in report.warnings[0].message
    assert model.count.item() == 0


def test_spectral_norm_says_that_its_vectors_stay():
    report = looked(nn.Sequential(spectral_norm(nn.Linear(4, 3))), engine=LoopEngine())
    assert report.ok, str(report)
    assert "_u" in report.warnings[0].message


def test_tensors_kept_outside_buffers():
    class Remembers(nn.Linear):
        def forward(self, x):
            self.last = super().forward(x)
            return self.last

    model = Remembers(4, 3)
    report = looked(model)
    assert report.ok
    assert "keeps a tensor in 'last', outside parameters and buffers" in report.warnings[0].message
    assert not hasattr(model, "last")


class LayerDrop(nn.Linear):
    draw = staticmethod(random.random)

    def forward(self, x):
        return super().forward(x) if self.draw() < 2 else x


class NumpyDrop(LayerDrop):
    draw = staticmethod(np.random.random)


@pytest.mark.parametrize("kind", [LayerDrop, NumpyDrop])
def test_draws_from_pythons_generators(kind):
    """They are found also where this draw changed nothing, and the generators stay where they were."""
    states = random.getstate(), np.random.get_state()[2]
    assert "draws from Python's or NumPy's global generator" in refusal(looked(kind(4, 3)))
    assert (random.getstate(), np.random.get_state()[2]) == states


def test_python_attributes_are_given_back():
    class Counts(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model = Counts(4, 3)
    assert looked(model).ok
    assert "calls" not in vars(model)


def test_grad_mode_does_not_matter():
    with torch.no_grad():
        assert looked(mlp(), engine=VmapEngine()).ok
