"""Where rows come from: tensors, and data sets that are read as batches need them."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from clifftop.criteria import cross_entropy
from clifftop.training.data import DatasetRows, batch_of


class Pairs(Dataset):
    """Rows of two inputs and a target, and a count of those that were read."""

    def __init__(self, data, targets):
        self.data, self.targets, self.read = data, targets, []

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        self.read.append(i)
        return self.data[i], self.targets[i]


def test_a_dataset_trains_as_its_tensors_do(make, flat):
    tensors = make()
    dataset = make(dataset=TensorDataset(*tensors.inputs, *tensors.targets))
    tensors.fit(steps=6)
    dataset.fit(steps=6)
    assert torch.equal(flat(tensors), flat(dataset))


def test_only_the_rows_of_a_batch_are_read(make):
    tensors = make()
    data = Pairs(*tensors.inputs, *tensors.targets)
    trainer = make(dataset=data, prob=0.1)
    trainer.fit(steps=1)
    data.read.clear()
    trainer.fit(steps=3)
    assert 0 < len(data.read) < 60


def test_a_collate_of_the_users_makes_several_inputs(make):
    tensors = make()

    def collate(rows):
        x = torch.stack([row for row, _ in rows])
        return (x[:, :2], x[:, 2:]), (torch.stack([y for _, y in rows]),)

    class Two(torch.nn.Linear):
        def forward(self, a, b):
            return super().forward(torch.cat([a, b], 1))

    torch.manual_seed(3)
    trainer = make(dataset=Pairs(*tensors.inputs, *tensors.targets), collate=collate, module=Two(5, 3))
    trainer.fit(steps=2)
    assert trainer.steps_done == 2


def test_an_empty_batch_is_a_step_of_noise_alone(make):
    trainer = make(prob=1e-9)
    before = torch.cat([p.detach().flatten().clone() for p in trainer.module.parameters()])
    record = trainer.step()
    after = torch.cat([p.detach().flatten() for p in trainer.module.parameters()])
    assert record.loss.isnan()
    assert not torch.equal(before, after)
    assert batch_of(trainer._rows, np.zeros(0, dtype=np.int64), torch.device("cpu")).mask.tolist() == [
        [False]
    ]


def test_equal_rows_that_sum_their_own_way(make):
    """``__getitems__``, where a data set has it, is asked once a batch."""
    tensors = make()

    class AtOnce(Pairs):
        calls = 0

        def __getitems__(self, numbers):
            self.calls += 1
            return [(self.data[i], self.targets[i]) for i in numbers]

    data = AtOnce(*tensors.inputs, *tensors.targets)
    inputs, targets = DatasetRows(dataset=data).take(np.array([3, 3, 7]))
    assert torch.equal(inputs[0], data.data[[3, 3, 7]])
    assert torch.equal(targets[0], data.targets[[3, 3, 7]])
    assert (data.calls, data.read) == (1, [])


@pytest.mark.parametrize(
    ("collate", "message"),
    [
        (
            lambda rows: torch.stack([x for x, _ in rows]),
            r"must return \(inputs, targets\), found type=Tensor",
        ),
        (lambda rows: {"x": 1, "y": 2}, r"must return \(inputs, targets\), found type=dict"),
        (lambda rows: (torch.zeros(2, 1), torch.zeros(2)), r"found lengths=\[2\] for 3 examples"),
        (lambda rows: ([1, 2], torch.zeros(3)), "a sequence of tensors, found type=list of length 2"),
    ],
)
def test_what_a_collate_must_return(collate, message):
    rows = DatasetRows(dataset=Pairs(torch.zeros(9, 5), torch.zeros(9)), collate=collate)
    with pytest.raises(ValueError, match=message):
        rows.take(np.arange(3))


def test_a_stream_is_refused(make):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(ValueError, match="found type=Stream; sampling needs a map-style"):
        make(dataset=Stream())


def test_both_or_no_data_are_refused(make):
    with pytest.raises(ValueError, match="found both"):
        make(dataset=TensorDataset(torch.zeros(3)), inputs=(torch.zeros(3, 5),))
    with pytest.raises(ValueError, match="found neither"):
        make(inputs=())


def test_data_on_another_device_follow_the_parameters(make):
    """The meta device stands in for a second one: rows that stayed there could not be computed with."""
    rows = make()._rows
    assert batch_of(rows, np.arange(4), torch.device("meta")).inputs[0].device.type == "meta"


def test_parameters_on_several_devices_are_refused(make):
    model = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Linear(3, 3, device="meta"))
    with pytest.raises(ValueError, match=r"all on one device, found devices=\['cpu', 'meta'\]; move it"):
        make(module=model)


def test_a_module_without_parameters_is_refused(make):
    model = torch.nn.Linear(5, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match=r"must have trainable parameters, .* found devices=\[\]"):
        make(module=model, optimizer=optimizer, criterion=cross_entropy)
