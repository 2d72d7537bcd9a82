"""Set scores equal scikit-learn's numbers and plain loops, and do not depend on the order of rows."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop import criteria
from clifftop.criteria import ScoredExamples, base

FROZEN = json.loads((Path(__file__).parent.parent / "oracles/scores.json").read_text())


def drawn(seed=FROZEN["seed"], rows=FROZEN["rows"], classes=FROZEN["classes"]):
    """The logits and class numbers that the frozen scores are of."""
    rng = np.random.default_rng(seed)
    logits, noise = rng.normal(size=(rows, classes)), rng.normal(size=(rows, classes))
    return torch.from_numpy(logits), torch.from_numpy((logits + noise).argmax(1))


def test_losses_and_brier_scores_are_scikit_learns():
    logits, targets = drawn()
    ones = (targets == 0).long()
    found = {
        "loss": criteria.cross_entropy(logits, targets),
        "brier": criteria.brier(logits, targets),
        "binary_loss": criteria.binary_cross_entropy(logits[:, 0], ones),
        "binary_brier": criteria.binary_brier(logits[:, :1], ones),
    }
    for name, values in found.items():
        assert values.shape == (len(logits),)
        assert values.mean().item() == pytest.approx(FROZEN[name], rel=1e-12), name


def test_accuracy_by_class_is_scikit_learns_recall():
    logits, targets = drawn()
    found = criteria.accuracy_by_class(logits, targets)
    assert found == {
        f"accuracy[class={k}]": pytest.approx(recall) for k, recall in enumerate(FROZEN["recall"])
    }
    worst = criteria.worst_class_accuracy(logits, targets)
    assert worst == {"worst_class_accuracy": pytest.approx(min(FROZEN["recall"]))}
    binary = criteria.binary_accuracy_by_class(logits[:, :1], (targets == 0).long())
    assert list(binary.values()) == pytest.approx(FROZEN["binary_recall"])


def test_groups_partition_the_mean():
    logits, targets = drawn()
    groups = np.array(["old", "young", "between"])[np.arange(len(logits)) % 7 % 3]
    found = criteria.accuracy_by_group(logits, targets, groups=groups)
    assert list(found) == [f"accuracy[group={label}]" for label in ("between", "old", "young")]
    shares = [(groups == label).mean() for label in ("between", "old", "young")]
    mean = criteria.accuracy(logits, targets).mean().item()
    assert np.dot(shares, list(found.values())) == pytest.approx(mean)
    worst = criteria.worst_group_accuracy(logits, targets, groups=groups)
    assert worst["worst_group_accuracy"] == min(found.values())
    loss = criteria.WorstGroup(criterion=criteria.cross_entropy, lowest=False)
    each = criteria.ByGroup(criterion=criteria.cross_entropy, name="nll")
    assert loss(logits, targets, groups=groups)["cross_entropy"] == max(
        each(logits, targets, groups=groups).values()
    )


def plain_ece(probability, outcome, edges) -> float:
    """A loop over bins with these edges, each closed above."""
    total = 0.0
    for low, high in itertools.pairwise(edges):
        inside = [i for i, p in enumerate(probability) if low < p <= high]
        if inside:
            gap = np.mean([outcome[i] for i in inside]) - np.mean([probability[i] for i in inside])
            total += len(inside) / len(probability) * abs(gap)
    return total


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 20), st.integers(2, 5))
def test_calibration_errors_are_those_of_a_plain_loop(seed, rows, num_bins, classes):
    logits, targets = drawn(seed, rows, classes)
    top = logits.softmax(-1).max(-1)
    p, right = top.values.numpy(), (top.indices == targets).double().numpy()
    equal_width = criteria.ece(num_bins=num_bins)(logits, targets)["ece"]
    assert equal_width == pytest.approx(plain_ece(p, right, np.arange(num_bins + 1) / num_bins), abs=1e-12)
    equal_mass = criteria.equal_mass_ece(num_bins=num_bins)(logits, targets)["equal_mass_ece"]
    total, order = 0.0, np.argsort(p)
    for b in range(num_bins):
        inside = [order[i] for i in range(rows) if i * num_bins // rows == b]
        total += abs(sum(right[i] - p[i] for i in inside)) / rows
    assert equal_mass == pytest.approx(total, abs=1e-12)
    one = logits[:, 0].sigmoid().numpy()
    binary = criteria.binary_ece(num_bins=num_bins)(logits[:, 0], (targets == 0).long())["binary_ece"]
    edges = np.arange(num_bins + 1) / num_bins
    assert binary == pytest.approx(plain_ece(one, (targets == 0).double().numpy(), edges), abs=1e-12)


def by_place(probability, outcome, num_bins) -> float:
    """Equal-mass bins with rows of one confidence in the order in which they come."""
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, num_bins)
    return sum(abs((outcome[b] - probability[b]).sum()) for b in bins) / len(probability)


@pytest.mark.parametrize("score", [criteria.ece(), criteria.equal_mass_ece(num_bins=9)])
def test_the_order_of_rows_does_not_matter_even_where_confidences_are_equal(score):
    """Half of the rows have one confidence; the control, which takes them as they come, does change."""
    logits, targets = drawn(rows=90)
    logits[::2] = torch.tensor([0.0, 0, 0, 0, 0.3])
    orders = [torch.from_numpy(np.random.default_rng(seed).permutation(90)) for seed in (0, 1)]
    found = [next(iter(score(logits[order], targets[order]).values())) for order in orders]
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    top = logits.softmax(-1).max(-1)
    p, right = top.values.numpy(), (top.indices == targets).double().numpy()
    control = [by_place(p[order], right[order], 9) for order in orders]
    assert control[0] != pytest.approx(control[1], abs=1e-3)


def test_the_floor_is_the_mean_error_of_calibrated_outcomes():
    """Outcomes drawn with the stated probabilities, 300 times: the mean is known to a 60th of itself."""
    rng = np.random.default_rng(1)
    p = rng.uniform(0.5, 1.0, size=800)
    logits = torch.log(torch.from_numpy(np.stack([p, 1 - p], 1)))
    errors = []
    for _ in range(300):
        targets = torch.from_numpy((rng.random(800) > p).astype(np.int64))
        errors.append(criteria.ece()(logits, targets)["ece"])
    floor = criteria.ece_floor()(logits, targets)["ece_floor"]
    assert floor == pytest.approx(np.mean(errors), rel=0.05)
    assert floor <= math.sqrt(2 / math.pi) / 2 * math.sqrt(15 / 800)
    wrong = criteria.ece()(logits, torch.ones(800, dtype=torch.int64))["ece"]
    assert wrong > 10 * floor  # the control: probabilities that are no frequencies


def test_an_output_that_is_not_finite_has_no_calibration():
    logits, targets = drawn(rows=6)
    logits[2, 1] = torch.nan
    for score in (criteria.ece(), criteria.equal_mass_ece(), criteria.ece_floor()):
        assert math.isnan(*score(logits, targets).values())


def test_clipped_means_a_weight_below_one_in_some_group_of_parameters():
    weights = torch.tensor([[1.0, 1.0], [1.0, 0.9], [2.0, 3.0], [0.0, 0.0]])
    targets = torch.tensor([0, 0, 1, 1])
    assert criteria.clipped_by_class()(weights, targets) == {"clipped[class=0]": 0.5, "clipped[class=1]": 0.5}
    groups = np.array([1, 1, 1, 2])
    assert criteria.clipped_by_group()(weights, targets, groups=groups) == {
        "clipped[group=1]": pytest.approx(1 / 3),
        "clipped[group=2]": 1.0,
    }


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 60))
def test_rows_are_spread_over_parts_as_evenly_as_can_be(sizes, most):
    ends = np.cumsum(sizes)
    parts = [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    places = base.spread_over(parts, most)
    assert len(places) == len(set(places.tolist())) == min(most, sum(sizes))
    taken = [int(np.isin(part, places).sum()) for part in parts]
    fullest = max(taken)
    # A part has fewer than another by two or more only if all of it was taken.
    assert all(count >= fullest - 1 or count == size for count, size in zip(taken, sizes, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: criteria.ece(num_bins=0), "num_bins must be a whole number >= 1, found num_bins=0"),
        (lambda x, y: criteria.ece()(x[:, 0], y), "needs logits .* for one logit an example use binary_ece"),
        (criteria.accuracy_by_group, "needs a group for each example, found none"),
        (
            lambda x, y: criteria.ByClass(criterion=criteria.squared_error)(x[:, 0], x[:, 0]),
            "needs one class number an example",
        ),
        (
            lambda x, y: criteria.accuracy_by_group(x, y, groups=np.arange(len(x))),
            "at most 100 classes or groups, found 400",
        ),
        (lambda x, y: criteria.clipped_by_class(num_examples=2000), r"whole number in \[1, 1024\]"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message) as refusal:
        call(*drawn())
    assert "\n" not in str(refusal.value)


def test_the_worst_of_many_groups_is_one_number():
    logits, targets = drawn()
    found = criteria.worst_group_accuracy(logits, targets, groups=np.arange(len(logits)))
    assert found == {"worst_group_accuracy": 0.0}


def test_examples_are_taken_with_all_that_belongs_to_them():
    rows = ScoredExamples(
        targets=(np.arange(4),), inputs=(np.arange(8).reshape(4, 2),), groups=np.array(["a", "b", "a", "c"])
    )
    few = rows.take(np.array([1, 3]))
    assert few.targets[0].tolist() == [1, 3]
    assert few.inputs[0].tolist() == [[2, 3], [6, 7]]
    assert {name: part.tolist() for name, part in few.by_group.items()} == {"group=b": [0], "group=c": [1]}
