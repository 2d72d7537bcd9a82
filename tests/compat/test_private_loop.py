"""The loop's private step against an oracle that knows nothing of it, and what a loop may not do."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset, WeightedRandomSampler

from clifftop.compat.loop import LoopError
from clifftop.compat.opacus import PrivacyEngine
from clifftop.compat.opacus.utils.batch_memory_manager import BatchMemoryManager
from clifftop.gradients import UnsupportedModule

N, D, CLASSES = 48, 6, 3


class Tagger(nn.Module):
    """One row of logits a position: the mean over positions is an example's loss."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.lstm = nn.LSTM(8, 7, batch_first=True)
        self.out = nn.Linear(7, CLASSES)

    def forward(self, tokens):
        states, last = self.lstm(self.embed(tokens))
        return self.out(states), last


def mlp():
    return nn.Sequential(nn.Linear(D, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def vectors():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(N, D, generator=generator), torch.randint(0, CLASSES, (N,), generator=generator)


def loader(*tensors, batch_size=12, **options):
    return DataLoader(TensorDataset(*tensors, torch.arange(len(tensors[0]))), batch_size, **options)


def private(model, data, *, lr=0.3, noise=0.0, clip=1e9, optimizer=None, engine=None, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr) if optimizer is None else optimizer
    return (engine or PrivacyEngine()).make_private(
        module=model,
        optimizer=optimizer,
        data_loader=data,
        noise_multiplier=noise,
        max_grad_norm=clip,
        **options,
    )


def train(model, optimizer, batches, criterion):
    seen = []
    for *inputs, rows in batches:
        optimizer.zero_grad()
        criterion(model, *inputs).backward()
        optimizer.step()
        seen.append(rows)
    return seen


def cross_entropy(model, x, y):
    return nn.functional.cross_entropy(model(x), y)


def tagging(model, x, y):
    logits, _ = model(x)
    return nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())


def oracle_step(model, examples, criterion, *, lr, clip, divisor):
    """One step of clipped gradients, one backward pass an example."""
    total = [torch.zeros_like(p) for p in model.parameters()]
    for example in examples:
        grads = torch.autograd.grad(criterion(model, *(x[None] for x in example)), list(model.parameters()))
        norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in grads]))
        weight = min(1.0, clip / (norm.item() + 1e-12))
        total = [t + weight * g for t, g in zip(total, grads, strict=True)]
    with torch.no_grad():
        for p, t in zip(model.parameters(), total, strict=True):
            p.sub_(lr * t / divisor)


def far(a, b):
    return max(
        float((p - q).detach().abs().max()) for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )


def test_without_noise_or_clipping_the_loop_is_ordinary_training():
    torch.manual_seed(0)
    x, y = vectors()
    plain = mlp().double()
    model = copy.deepcopy(plain)
    start = copy.deepcopy(plain)
    train(plain, torch.optim.SGD(plain.parameters(), lr=0.3), loader(x.double(), y), cross_entropy)
    model, optimizer, batches = private(model, loader(x.double(), y), poisson_sampling=False)
    train(model, optimizer, batches, cross_entropy)
    assert far(plain, model) < 1e-9
    assert far(plain, start) > 1e-2


@pytest.mark.parametrize("part", [None, 5])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_clipped_poisson_steps_equal_one_backward_pass_an_example(reduction, part):
    torch.manual_seed(0)
    x, y = vectors()
    x = x.double()
    model = mlp().double()
    oracle = copy.deepcopy(model)
    engine = PrivacyEngine()

    def criterion(model, x, y):
        return nn.functional.cross_entropy(model(x), y, reduction=reduction)

    model, optimizer, batches = private(
        model, loader(x, y), clip=0.4, engine=engine, lr=0.05, loss_reduction=reduction
    )
    steps = []
    optimizer.register_step_post_hook(
        lambda *_: steps.append(any(p.grad is not None for p in model.parameters()))
    )
    if part is None:
        seen = [rows for _ in range(3) for rows in train(model, optimizer, batches, criterion)]
    else:
        with BatchMemoryManager(
            data_loader=batches, max_physical_batch_size=part, optimizer=optimizer
        ) as parts:
            rows = [rows for _ in range(3) for rows in train(model, optimizer, parts, criterion)]
        assert max(map(len, rows)) == part
        assert len(rows) == len(steps)
        ends = [i + 1 for i, stepped in enumerate(steps) if stepped]
        seen = [torch.cat(rows[i:j]) for i, j in zip([0, *ends[:-1]], ends, strict=True)]
    assert engine.accountant.history == [(0.0, 0.25, 12)]
    for rows in seen:
        divisor = 12 if reduction == "mean" else 1
        oracle_step(oracle, [(x[i], y[i]) for i in rows], criterion, lr=0.05, clip=0.4, divisor=divisor)
    assert far(oracle, model) < 1e-9
    assert len({len(rows) for rows in seen}) > 1


def test_positions_and_unused_outputs_of_a_recurrent_model():
    torch.manual_seed(1)
    tokens, labels = torch.randint(0, 11, (20, 5)), torch.randint(0, CLASSES, (20, 5))
    model = Tagger().double()
    oracle = copy.deepcopy(model)
    model, optimizer, batches = private(model, loader(tokens, labels, batch_size=5), clip=0.1)
    for rows in train(model, optimizer, batches, tagging):
        oracle_step(oracle, [(tokens[i], labels[i]) for i in rows], tagging, lr=0.3, clip=0.1, divisor=5)
    assert far(oracle, model) < 1e-9


def test_dropout_is_the_same_in_the_loss_and_in_the_gradient():
    torch.manual_seed(0)
    x = torch.ones(8, 400).double()
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(400, 1, bias=False)).double()
    model, optimizer, batches = private(model, loader(x, batch_size=8), poisson_sampling=False, lr=1.0)
    before = model[1].weight.detach().clone()
    for batch, _ in batches:
        out = model(batch)
        (out.sum(1).mean()).backward()
        mask_sum = out.detach().mean()
        optimizer.step()
    gradient = before - model[1].weight.detach()
    # The loss is linear, so its value is the product of weights and gradient: of the same masks.
    assert torch.allclose((gradient * before).sum(), mask_sum)


def test_a_loss_may_write_into_the_outputs():
    x, y = vectors()
    model, optimizer, batches = private(mlp(), loader(x, y))
    for batch, labels, _ in batches:
        logits = model(batch)
        logits[:, 2] = -1e4
        nn.functional.cross_entropy(logits, labels.clamp(max=1)).backward()
        optimizer.step()
    assert torch.equal(model[2].bias.grad[2], torch.tensor(0.0))


def test_a_module_may_write_in_place():
    torch.manual_seed(0)
    x, y = vectors()
    model = nn.Sequential(
        nn.Linear(D, 16), nn.LayerNorm(16), nn.ReLU(inplace=True), nn.Linear(16, 3)
    ).double()
    oracle = copy.deepcopy(model)
    model, optimizer, batches = private(model, loader(x.double(), y), clip=0.4)
    for rows in train(model, optimizer, batches, cross_entropy):
        examples = [(x[i].double(), y[i]) for i in rows]
        oracle_step(oracle, examples, cross_entropy, lr=0.3, clip=0.4, divisor=12)
    assert far(oracle, model) < 1e-9


def test_an_empty_batch_is_a_step_of_noise_alone():
    torch.manual_seed(0)
    x, y = vectors()
    engine = PrivacyEngine()
    model, optimizer, batches = private(mlp(), loader(x, y, batch_size=1), noise=1.0, clip=1.0, engine=engine)
    stepped = []
    optimizer.register_step_post_hook(lambda *_: stepped.append(float(model[0].weight.grad.norm())))
    seen = train(model, optimizer, batches, cross_entropy)
    assert len(seen) < len(stepped) == N  # Poisson with mean 1: about a third are empty
    assert min(stepped) > 0
    assert engine.accountant.history == [(1.0, 1 / N, N)]


def test_noise_has_the_stated_size():
    """False alarm below 1e-6: 25 000 draws, relative standard error of the variance 0.9%."""
    x = torch.zeros(16, 5000)
    model = nn.Linear(5000, 1, bias=False)
    model, optimizer, batches = private(
        model, loader(x, batch_size=4), noise=2.0, clip=0.5, lr=0.0, loss_reduction="mean"
    )
    draws = []
    optimizer.register_step_post_hook(lambda *_: draws.append(model.weight.grad.flatten().clone()))
    for _ in range(2):
        for batch, _rows in batches:
            model(batch).sum(1).mean().backward()
            optimizer.step()
            if len(draws) >= 5:
                break
    std = torch.stack(draws[:5]).std().item()
    assert std == pytest.approx(2.0 * 0.5 / 4, rel=0.05)
    assert std != pytest.approx(2.0 * 0.5, rel=0.5)


def test_weights_are_free_of_gradients_until_the_step():
    x, y = vectors()
    model, _, batches = private(mlp(), loader(x, y))
    batch, labels, _ = next(iter(batches))
    nn.functional.cross_entropy(model(batch), labels).backward()
    assert all(p.grad is None for p in model.parameters())


def test_a_closure_is_run_before_the_step():
    x, y = vectors()
    plain = mlp()
    model, optimizer, batches = private(copy.deepcopy(plain), loader(x, y))
    for batch, labels, _ in batches:

        def closure(batch=batch, labels=labels):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch), labels)
            loss.backward()
            return loss

        loss = optimizer.step(closure)
        assert loss > 0
    assert far(plain, model) > 1e-3


def test_the_module_is_the_users_own():
    x, y = vectors()
    model = mlp()
    names = list(model.state_dict())
    returned, optimizer, _ = private(model, loader(x, y))
    assert returned is model
    assert list(model.state_dict()) == names
    assert model._module is model
    assert optimizer.original_optimizer is optimizer


def test_copies_and_stored_copies_are_ordinary_modules():
    x, y = vectors()
    model, _, _ = private(mlp(), loader(x, y))
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        nn.functional.cross_entropy(other(x), y).backward()
        assert all(p.grad is not None for p in other.parameters())


def test_evaluation_is_left_alone():
    x, y = vectors()
    model, _, batches = private(mlp(), loader(x, y))
    model.eval()
    for batch, labels, _ in batches:
        loss = nn.functional.cross_entropy(model(batch), labels)
        assert loss.requires_grad
        with torch.no_grad():
            assert not model(batch).requires_grad


def test_an_older_scheduler_does_not_escape_the_noise():
    """A scheduler made before `make_private` replaces ``optimizer.step`` on the instance."""
    x, y = vectors()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
    engine = PrivacyEngine()
    model, optimizer, batches = private(model, loader(x, y), noise=1.0, optimizer=optimizer, engine=engine)
    train(model, optimizer, batches, cross_entropy)
    scheduler.step()
    assert engine.accountant.history == [(1.0, 0.25, 4)]


def test_made_private_twice_is_made_private_once():
    x, y = vectors()
    model = mlp()
    engine = PrivacyEngine()
    private(model, loader(x, y), engine=PrivacyEngine())
    model, optimizer, batches = private(model, loader(x, y), noise=1.0, engine=engine)
    model, optimizer, batches = private(model, batches, noise=1.0, engine=engine, optimizer=optimizer)
    train(model, optimizer, batches, cross_entropy)
    assert engine.accountant.history == [(1.0, 0.25, 4)]


def test_workers_hand_out_the_same_batches():
    x, y = vectors()

    def rows_of(workers):
        data = loader(x, y, num_workers=workers, generator=torch.Generator().manual_seed(7))
        model, optimizer, batches = private(mlp(), data)
        return train(model, optimizer, batches, cross_entropy)

    assert [r.tolist() for r in rows_of(0)] == [r.tolist() for r in rows_of(2)]


# ------------------------------------------------------------------ what a loop may not do


def refusal(model, batches, optimizer, loop):
    def run():
        for batch in batches:
            loop(model, optimizer, *batch)

    with pytest.raises((LoopError, UnsupportedModule)) as caught:
        run()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_penalty_on_weights_is_refused():
    def loop(model, optimizer, x, y, _):
        (nn.functional.cross_entropy(model(x), y) + 0.1 * model[0].weight.square().sum()).backward()
        optimizer.step()

    model, optimizer, batches = private(mlp(), loader(*vectors()))
    assert "weight_decay" in refusal(model, batches, optimizer, loop)


def test_a_second_step_on_one_batch_is_refused():
    def loop(model, optimizer, x, y, _):
        for _ in range(2):
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    model, optimizer, batches = private(mlp(), loader(*vectors()))
    assert "one step each" in refusal(model, batches, optimizer, loop)


def test_gradients_added_up_over_batches_are_refused():
    def loop(model, optimizer, x, y, _):
        nn.functional.cross_entropy(model(x), y).backward()

    model, optimizer, batches = private(mlp(), loader(*vectors()))
    assert "BatchMemoryManager" in refusal(model, batches, optimizer, loop)


def test_the_old_loader_is_refused():
    def loop(model, optimizer, x, y, _):
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    data = loader(*vectors())
    model, optimizer, _ = private(mlp(), data)
    assert "private data loader" in refusal(model, data, optimizer, loop)


def test_rows_that_are_no_examples_are_refused():
    """Positions as rows would be clipped one by one: the unit of privacy would be a token."""

    class Flat(Tagger):
        def forward(self, tokens):
            return super().forward(tokens)[0].flatten(0, 1)

    def loop(model, optimizer, x, y, _):
        nn.functional.cross_entropy(model(x), y.flatten()).backward()
        optimizer.step()

    tokens, labels = torch.randint(0, 11, (20, 5)), torch.randint(0, CLASSES, (20, 5))
    model, optimizer, batches = private(Flat(), loader(tokens, labels, batch_size=5))
    assert "one row an example" in refusal(model, batches, optimizer, loop)


def test_a_loss_computed_inside_is_refused():
    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x, y):
            return nn.functional.cross_entropy(self.net(x), y)

    def loop(model, optimizer, x, y, _):
        model(x, y).backward()
        optimizer.step()

    model, optimizer, batches = private(Inside(), loader(*vectors()))
    assert "one row an example" in refusal(model, batches, optimizer, loop)


def test_two_passes_are_refused():
    def loop(model, optimizer, x, y, _):
        nn.functional.cross_entropy(model(x) + model(-x), y).backward()
        optimizer.step()

    model, optimizer, batches = private(mlp(), loader(*vectors()))
    assert "one forward pass" in refusal(model, batches, optimizer, loop)


def test_gradients_of_the_inputs_are_refused():
    """They would be lost: those of an embedding outside, or of an attack on the inputs."""

    def loop(model, optimizer, x, y, _):
        nn.functional.cross_entropy(model(x.requires_grad_()), y).backward()

    model, optimizer, batches = private(mlp(), loader(*vectors()))
    assert "must not require gradients" in refusal(model, batches, optimizer, loop)


def test_calling_a_part_of_the_module_is_refused():
    def loop(model, optimizer, x, y, _):
        nn.functional.cross_entropy(model[2](model[1](model[0](x))), y).backward()
        optimizer.step()

    model, optimizer, batches = private(mlp(), loader(*vectors()))
    assert "called as a whole" in refusal(model, batches, optimizer, loop)


def test_a_module_that_mixes_examples_is_refused():
    """A list of layer types finds nothing here."""

    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(D, CLASSES)

        def forward(self, x):
            return self.linear(x - x.mean(0))

    def loop(model, optimizer, x, y, _):
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    before = Centred()
    model, optimizer, batches = private(before, loader(*vectors()))
    start = copy.deepcopy(model)
    assert "depend on the others" in refusal(model, batches, optimizer, loop)
    assert far(start, model) == 0


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(D), 0)])


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (
            lambda d: DataLoader(d, 4, sampler=WeightedRandomSampler([1.0] * len(d), len(d))),
            "WeightedRandomSampler",
        ),
        (lambda d: DataLoader(Stream(), 4), "IterableDataset"),
        (lambda d: DataLoader(d, batch_size=None), "batch_size"),
        (lambda d: DataLoader(d, batch_size=N + 1), f"batch_size={N + 1}"),
    ],
)
def test_loaders_whose_batches_have_no_known_cost_are_refused(data, word):
    dataset = TensorDataset(*vectors())
    with pytest.raises(LoopError, match=word):
        private(mlp(), data(dataset))
    private(mlp(), DataLoader(Subset(dataset, range(30)), 4, shuffle=True))


def test_optimisers_that_do_not_fit_are_refused():
    model = mlp()
    data = loader(*vectors())
    with pytest.raises(LoopError, match="2 of 4 missing"):
        private(model, data, optimizer=torch.optim.SGD(model[0].parameters(), lr=0.1))
    with pytest.raises(LoopError, match="4 foreign"):
        private(model, data, optimizer=torch.optim.SGD(mlp().parameters(), lr=0.1))
    with pytest.raises(LoopError, match="LBFGS"):
        private(model, data, optimizer=torch.optim.LBFGS(model.parameters()))
    model[0].requires_grad_(False)
    private(model, data, optimizer=torch.optim.SGD(model[2].parameters(), lr=0.1))


def test_an_example_that_is_not_a_number_is_left_out():
    x, y = vectors()
    x[0] = math.nan
    model, optimizer, batches = private(mlp(), loader(x, y), poisson_sampling=False, clip=1.0)
    train(model, optimizer, batches, cross_entropy)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_reduced_precision_in_the_loop():
    torch.manual_seed(0)
    x, y = vectors()
    exact, coarse = mlp(), mlp()
    coarse.load_state_dict(exact.state_dict())

    def criterion(model, x, y):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return nn.functional.cross_entropy(model(x), y)

    for model, loss in ((exact, cross_entropy), (coarse, criterion)):
        _, optimizer, batches = private(model, loader(x, y), poisson_sampling=False, clip=0.3)
        train(model, optimizer, batches, loss)
    assert 0 < far(exact, coarse) < 2e-3


def test_stale_gradients_do_not_move_the_first_parts():
    """A gradient of zeros from before would let momentum and weight decay act in a step that is none."""
    x, y = vectors()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
    cross_entropy(model, x, y).backward()
    optimizer.zero_grad(set_to_none=False)
    model, optimizer, batches = private(model, loader(x, y), optimizer=optimizer)
    before = copy.deepcopy(model)
    with BatchMemoryManager(data_loader=batches, max_physical_batch_size=2, optimizer=optimizer) as parts:
        batch, labels, _ = next(iter(parts))
        nn.functional.cross_entropy(model(batch), labels).backward()
        optimizer.step()
    assert far(before, model) == 0


def test_a_batch_that_was_broken_off_adds_nothing_to_the_next():
    """Else one example could be in both, and weigh twice its clip norm."""
    x = torch.zeros(30, 1)
    model = nn.Linear(1, 1)
    model, optimizer, batches = private(
        model, loader(x, batch_size=30), clip=1.0, poisson_sampling=False, loss_reduction="sum", lr=0.0
    )

    def steps(most):
        with BatchMemoryManager(
            data_loader=batches, max_physical_batch_size=10, optimizer=optimizer
        ) as parts:
            for i, (part, _) in enumerate(parts):
                if i == most:
                    return
                (7 * model(part).sum()).backward()
                optimizer.step()

    steps(2)
    assert model.bias.grad is None
    steps(3)
    assert model.bias.grad.item() == pytest.approx(30)
