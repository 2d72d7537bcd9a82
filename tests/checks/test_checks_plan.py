"""The optimiser, the plan, and the report itself."""

import json
import math

import pytest
import torch
from torch import nn

from clifftop.checks import FirstExamples, NoChecks, NotPrivate, Status, check, recheck
from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation
from clifftop.noise import Gaussian
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder, Poisson

SGD = torch.optim.SGD
PER_EXAMPLE = nn.CrossEntropyLoss(reduction="none")


def looked(module=None, **more):
    torch.manual_seed(0)
    return check(
        module=model() if module is None else module,
        criterion=more.pop("criterion", PER_EXAMPLE),
        inputs=[torch.randn(20, 4)],
        targets=[torch.randint(3, (20,))],
        **more,
    )


def model():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


# ---------------------------------------------------------------- the optimiser


def test_the_right_optimisers_pass():
    module = model()
    groups = [{"params": module[0].parameters(), "lr": 0.1}, {"params": module[2].parameters()}]
    for optimizer in (SGD(module.parameters(), lr=0.1), torch.optim.Adam(groups)):
        report = looked(module, optimizer=optimizer)
        assert report.ok
        assert not report.warnings


def test_missing_and_foreign_parameters():
    module, other = model(), nn.Linear(4, 3)
    optimizer = SGD([*module[0].parameters(), *other.parameters()], lr=0.1)
    report = looked(module, optimizer=optimizer)
    with pytest.raises(
        NotPrivate, match=r"found 2 of them missing \('2.weight', '2.bias'\) and 2 foreign; build"
    ):
        report.require()
    statuses = [row.status for row in report.rows]
    assert statuses == [Status.PROTECTED] * 2 + [Status.REFUSED] * 2


def test_a_frozen_foreign_parameter_is_foreign_too():
    """Its gradient may be left from elsewhere."""
    module, other = model(), nn.Linear(4, 3).requires_grad_(False)
    report = looked(module, optimizer=SGD([*module.parameters(), *other.parameters()], lr=0.1))
    assert "0 of them missing (none) and 2 foreign" in report.problems[0].message


def test_a_repeated_parameter():
    module = model()
    optimizer = SGD(module.parameters(), lr=0.1)
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [module[0].bias]})
    message = looked(module, optimizer=optimizer).problems[0].message
    assert "each parameter once, found '0.bias' repeated" in message


def test_a_frozen_parameter_with_an_old_gradient():
    """Torch's optimisers look at ``grad``, not at ``requires_grad``."""
    module = model()
    module[0].bias.grad = torch.ones(5)
    module[0].bias.requires_grad_(False)
    optimizer = SGD(module.parameters(), lr=0.1)
    before = module[0].bias.clone()
    optimizer.step()
    assert not torch.equal(before, module[0].bias)
    message = looked(module, optimizer=optimizer).problems[0].message
    assert "owns '0.bias' with a gradient left from before" in message
    module[0].bias.grad = None
    report = looked(module, optimizer=optimizer)
    assert report.ok
    assert "the optimiser owns the frozen '0.bias', which it will not change" in report.warnings[0].message


def test_parameters_of_the_criterion_are_told():
    class Tempered(nn.Module):
        def __init__(self):
            super().__init__()
            self.temperature = nn.Parameter(torch.ones(()))

        def forward(self, output, target):
            return PER_EXAMPLE(output / self.temperature, target)

    report = looked(criterion=Tempered())
    assert report.ok
    assert "the criterion's own 'temperature' will not be trained" in report.warnings[0].message


def test_recheck_sees_what_changed_since():
    module = model()
    optimizer = SGD(module.parameters(), lr=0.1)
    names = [name for name, _ in module.named_parameters()]
    recheck(module, optimizer, protected=names)
    module[2].bias.requires_grad_(False)
    with pytest.raises(NotPrivate, match=r"found 0 more \(none\) and 1 fewer \('2.bias'\)"):
        recheck(module, optimizer, protected=names)
    recheck(module, optimizer, protected=names[:-1])
    module[2].bias.requires_grad_(True)
    with pytest.raises(NotPrivate, match=r"found 1 more \('2.bias'\) and 0 fewer \(none\)"):
        recheck(module, optimizer, protected=names[:-1])
    module[2].bias = nn.Parameter(torch.zeros(3))
    with pytest.raises(NotPrivate, match=r"1 of them missing \('2.bias'\) and 1 foreign"):
        recheck(module, optimizer, protected=names)


# ---------------------------------------------------------------- the plan


def plan(sampler=None, *, size=8.0, noise=1.0, clip=1.0):
    fixed = isinstance(sampler, FixedOrder)
    return PrivacyPlan(
        sampler=Poisson(sampling_prob=0.4) if sampler is None else sampler,
        clipping=Flat(clip_norm=clip),
        noise=Gaussian(noise_multiplier=noise),
        neighboring_relation=NeighboringRelation.ZERO_OUT if fixed else NeighboringRelation.ADD_OR_REMOVE_ONE,
        expected_batch_size=size,
    )


def test_a_plan_that_fits_says_nothing():
    assert not looked(plan=plan()).warnings
    assert not looked(plan=plan(FixedOrder(batch_size=5), size=None)).warnings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (plan(size=16), "expected_batch_size=16, but a batch has 8 of num_examples=20 examples on average"),
        (plan(FixedOrder(batch_size=5), size=10), "expected_batch_size=10, but a batch has 5 of"),
        (plan(Poisson(sampling_prob=0.05), size=1), "a batch has 1 example(s) on average"),
        (plan(FixedOrder(batch_size=1), size=None), "a batch has 1 example(s) on average"),
        (plan(noise=0.0), "nothing can be claimed of this plan"),
        (plan(clip=math.inf, noise=0.0), "nothing can be claimed of this plan"),
    ],
)
def test_what_a_plan_is_warned_of(given, said):
    report = looked(plan=given)
    assert report.ok
    assert said in report.warnings[0].message


def test_the_data_sets_size_may_be_given_apart():
    assert looked(plan=plan(), num_examples=200).warnings
    assert not looked(plan=plan(Poisson(sampling_prob=0.04)), num_examples=200).warnings


def test_a_plan_that_nothing_can_be_claimed_of_is_a_problem():
    report = looked(plan=plan(FixedOrder(batch_size=21), size=None))
    assert [f.check for f in report.problems] == ["plan"]
    assert "batch_size=21 and num_examples=20" in report.problems[0].message


# ---------------------------------------------------------------- the report and its caller


def test_the_report_reads_and_stores():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    report = looked(module, optimizer=SGD(module[0].parameters(), lr=0.1))
    assert [f.check for f in report.problems] == ["layers", "ownership"]
    text = str(report)
    assert text.splitlines()[0].split() == ["parameter", "shape", "dtype", "status", "by"]
    assert "1.weight   3      float32  refused  -" in text
    assert "2 problem(s) found; GraphEngine on 5 example(s)" in text
    assert "problem (layers): examples must not share statistics" in text
    document = report.to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["parameters"][0] == {
        "name": "0.weight",
        "tied": [],
        "shape": [3, 4],
        "dtype": "float32",
        "status": "refused",
        "by": "",
    }
    assert document["problems"][1]["parameters"] == ["1.weight", "1.bias"]


def test_a_clean_report():
    report = looked()
    assert "no problem found" in str(report)
    report.require()


def trainer_call(checks, module):
    return checks(
        module=module,
        criterion=PER_EXAMPLE,
        inputs=[torch.randn(20, 4)],
        targets=[torch.randint(3, (20,))],
        optimizer=SGD(module.parameters(), lr=0.1),
        plan=plan(),
    )


def test_a_trainer_gets_a_report_or_a_refusal_or_nothing():
    bad = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    assert trainer_call(FirstExamples(max_examples=4), model()).num_examples == 4
    with pytest.raises(NotPrivate, match="GroupNorm"):
        trainer_call(FirstExamples(), bad)
    assert trainer_call(NoChecks(), bad) is None


def test_no_example_is_no_check():
    with pytest.raises(ValueError, match="max_examples=0"):
        FirstExamples(max_examples=0)


def test_what_a_check_costs():
    """Bounded whatever the data set: this is the figure that the page gives."""
    rows = 0

    class Counting(nn.Linear):
        def forward(self, x):
            nonlocal rows
            rows += len(x)
            return super().forward(x)

    module = Counting(4, 3)
    check(
        module=module,
        criterion=PER_EXAMPLE,
        inputs=[torch.randn(5000, 4)],
        targets=[torch.randint(3, (5000,))],
    )
    assert rows < 180
