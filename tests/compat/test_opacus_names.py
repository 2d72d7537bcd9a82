"""The names of Opacus: accountants, noise for a target, validators, checkpoints, arguments."""

import warnings
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clifftop import accounting
from clifftop.compat.opacus import GradSampleModule, PrivacyEngine
from clifftop.compat.opacus.accountants import (
    GaussianAccountant,
    IAccountant,
    PRVAccountant,
    RDPAccountant,
    create_accountant,
)
from clifftop.compat.opacus.accountants.utils import get_noise_multiplier, steps_of
from clifftop.compat.opacus.grad_sample import register_grad_sampler
from clifftop.compat.opacus.layers import DPGRU, DPLSTM, DPRNN, DPMultiheadAttention
from clifftop.compat.opacus.optimizers import DPOptimizer
from clifftop.compat.opacus.utils.batch_memory_manager import BatchMemoryManager
from clifftop.compat.opacus.validators import ModuleValidator
from clifftop.compat.opacus.validators.errors import (
    IllegalModuleConfigurationError,
    ShouldReplaceModuleError,
    UnsupportedModuleError,
)
from clifftop.events import FixedOrder, Gaussian, NeighboringRelation, PoissonSampled, SelfComposed
from clifftop.migrate.imports import PROVIDED

N = 40


def data(batch_size=10, **options):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, 4, generator=generator)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size, **options)


def net():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def private(engine, model=None, loader=None, **options):
    model = net() if model is None else model
    chosen = {"noise_multiplier": 1.0, "max_grad_norm": 1.0} | options
    return engine.make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=data() if loader is None else loader,
        **chosen,
    )


def epoch(model, optimizer, loader, *, most=10**9):
    for i, (x, y) in enumerate(loader):
        if i == most:
            return
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


# ------------------------------------------------------------------ accountants


@pytest.mark.parametrize("kind", [RDPAccountant, PRVAccountant, GaussianAccountant])
def test_every_name_states_the_certified_upper_end(kind):
    accountant = create_accountant(kind.mechanism())
    assert isinstance(accountant, kind)
    assert isinstance(accountant, IAccountant)
    assert accountant.get_epsilon(delta=1e-5) == 0
    for _ in range(50):
        accountant.step(noise_multiplier=1.0, sample_rate=0.02)
    accountant.step(noise_multiplier=2.0, sample_rate=0.02)
    assert accountant.history == [(1.0, 0.02, 50), (2.0, 0.02, 1)]
    assert len(accountant) == 51
    event = SelfComposed(PoissonSampled(0.02, Gaussian(1.0)), 50)
    one = accounting.epsilon(event, delta=1e-5, neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
    assert one.upper < accountant.get_epsilon(1e-5, alphas=[2, 3], eps_error=0.1) < one.upper * 1.2
    other = create_accountant("prv")
    other.load_state_dict(accountant.state_dict())
    assert other.get_epsilon(delta=1e-5) == accountant.get_epsilon(delta=1e-5)


def test_no_noise_is_no_privacy():
    accountant = RDPAccountant()
    accountant.step(noise_multiplier=0.0, sample_rate=0.1)
    assert accountant.get_privacy_spent(delta=1e-5)[0] == float("inf")


def test_an_unknown_accountant_is_named():
    with pytest.raises(ValueError, match="found accountant='moments'"):
        PrivacyEngine(accountant="moments")


def test_a_state_of_opacus_is_taken_over():
    accountant = PRVAccountant()
    accountant.load_state_dict({"history": [(1.1, 0.01, 100)], "mechanism": "prv"})
    assert accountant.history == [(1.1, 0.01, 100)]
    with pytest.raises(ValueError, match="history"):
        accountant.load_state_dict({})


def test_noise_for_a_target_never_misses_it():
    sigma = get_noise_multiplier(target_epsilon=2.0, target_delta=1e-5, sample_rate=1 / 93, epochs=2)
    accountant = PRVAccountant()
    accountant.history = [(sigma, 1 / 93, 186)]
    assert 1.999 < accountant.get_epsilon(delta=1e-5) <= 2.0
    with pytest.raises(ValueError, match="either epochs or steps"):
        get_noise_multiplier(target_epsilon=2.0, target_delta=1e-5, sample_rate=0.1)


def test_no_batch_size_loses_a_step():
    """``int(epochs / rate)`` does, at these among others."""
    assert [n for n in range(1, 5000) if steps_of(1, 1 / n) != n] == []
    assert int(1 / (1 / 93)) == 92


# ------------------------------------------------------------------ what is charged


def test_the_rate_is_batch_size_over_examples():
    """One over the loader's length would be 1/5 here, and the divisor int(42 / 5) = 8."""
    x = torch.randn(42, 4)
    loader = DataLoader(TensorDataset(x, torch.zeros(42, dtype=torch.long)), 10)
    engine = PrivacyEngine()
    model, optimizer, loader = private(engine, loader=loader)
    epoch(model, optimizer, loader)
    assert engine.accountant.history == [(1.0, 10 / 42, 5)]
    assert optimizer.expected_batch_size == 10
    assert len(loader) == 5


def test_a_fixed_order_is_charged_once_an_epoch_without_amplification():
    engine = PrivacyEngine()
    model, optimizer, loader = private(engine, loader=data(shuffle=True), poisson_sampling=False)
    epoch(model, optimizer, loader)
    epoch(model, optimizer, loader, most=1)  # an epoch that was broken off may have met any example
    assert engine.accountant.neighboring_relation is NeighboringRelation.ZERO_OUT
    truth = accounting.epsilon(
        FixedOrder(Gaussian(1.0), 2), delta=1e-3, neighboring_relation=NeighboringRelation.ZERO_OUT
    )
    assert engine.get_epsilon(1e-3) == pytest.approx(truth.upper, rel=1e-6)


def test_epochs_that_are_broken_off_are_each_charged():
    engine = PrivacyEngine()
    model, optimizer, loader = private(engine, poisson_sampling=False)
    for _ in range(4):
        epoch(model, optimizer, loader, most=1)
    assert engine.accountant.history == [(1.0, 1.0, 4)]


def test_every_epoch_in_parts_is_charged():
    """A new manager an epoch, as scripts have it, must not look like the same epoch again."""
    engine = PrivacyEngine()
    model, optimizer, loader = private(engine, poisson_sampling=False)
    for _ in range(3):
        with BatchMemoryManager(data_loader=loader, max_physical_batch_size=4, optimizer=optimizer) as parts:
            epoch(model, optimizer, parts)
    assert engine.accountant.history == [(1.0, 1.0, 3)]


def test_a_batch_that_no_step_follows_costs_nothing():
    engine = PrivacyEngine()
    _, _, loader = private(engine)
    next(iter(loader))
    assert engine.accountant.history == []


def test_noise_and_clip_norm_may_follow_a_schedule():
    engine = PrivacyEngine()
    model, optimizer, loader = private(engine)
    epoch(model, optimizer, loader)
    optimizer.noise_multiplier *= 2
    optimizer.max_grad_norm = 0.5
    seen = []
    optimizer.attach_step_hook(lambda o: seen.append((o.noise_multiplier, o.max_grad_norm)))
    epoch(model, optimizer, loader)
    assert engine.accountant.history == [(1.0, 0.25, 4), (2.0, 0.25, 4)]
    assert seen == [(2.0, 0.5)] * 4


def test_a_target_counts_what_was_spent_before():
    engine = PrivacyEngine()
    model, optimizer, loader = private(engine, noise_multiplier=2.0)
    epoch(model, optimizer, loader)
    before = engine.get_epsilon(1e-3)
    model, optimizer, loader = engine.make_private_with_epsilon(
        module=model,
        optimizer=optimizer,
        data_loader=loader,
        target_epsilon=before + 1,
        target_delta=1e-3,
        epochs=2,
        max_grad_norm=1.0,
    )
    for _ in range(2):
        epoch(model, optimizer, loader)
    assert before + 0.99 < engine.get_epsilon(1e-3) <= before + 1


def test_a_target_in_a_fixed_order():
    engine = PrivacyEngine()
    model = net()
    model, optimizer, loader = engine.make_private_with_epsilon(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=data(),
        target_epsilon=4.0,
        target_delta=1e-3,
        epochs=2,
        max_grad_norm=1.0,
        poisson_sampling=False,
    )
    for _ in range(2):
        epoch(model, optimizer, loader)
    assert 3.99 < engine.get_epsilon(1e-3) <= 4.0


# ------------------------------------------------------------------ arguments


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"clipping": "per_layer", "max_grad_norm": [1.0, 1.0]}, "clipping"),
        ({"clipping": "adaptive"}, "adaptive"),
        ({"grad_sample_mode": "ghost_fsdp"}, "ghost_fsdp"),
        ({"loss_reduction": "none"}, "loss_reduction"),
        ({"rand_on_empty": True}, "rand_on_empty"),
        ({"batch_first": False}, "batch_first"),
        ({"noise_multiplier": -1.0}, "noise_multiplier=-1.0"),
        ({"max_grad_norm": 0.0}, "clip_norm=0.0"),
    ],
)
def test_what_has_no_private_step_is_refused_by_name(option, word):
    with pytest.raises(ValueError, match=word) as caught:
        private(PrivacyEngine(), **option)
    assert "\n" not in str(caught.value)


def test_a_generator_seeds_the_noise_and_secure_mode_forbids_it():
    def gradient(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        torch.manual_seed(0)
        # One batch, all zeros: what is left is noise.
        loader = DataLoader(TensorDataset(torch.zeros(5, 4), torch.zeros(5, dtype=torch.long)), 5)
        model, optimizer, loader = private(PrivacyEngine(), loader=loader, noise_generator=generator)
        epoch(model, optimizer, loader)
        return model[0].weight.grad

    assert torch.equal(gradient(1), gradient(1))
    assert not torch.equal(gradient(1), gradient(2))
    assert not torch.equal(gradient(None), gradient(None))  # torch.manual_seed does not reach it
    with pytest.raises(ValueError, match="noise_generator"):
        private(PrivacyEngine(secure_mode=True), noise_generator=torch.Generator())


def test_ghost_modes_hand_the_criterion_back():
    criterion = nn.CrossEntropyLoss()
    found = private(PrivacyEngine(), criterion=criterion, grad_sample_mode="ghost")
    assert len(found) == 4
    assert found[2] is criterion


def test_hooks_can_be_taken_off():
    model, optimizer, loader = private(PrivacyEngine())
    model.cleanup()
    before = [p.detach().clone() for p in model.parameters()]
    epoch(model, optimizer, loader)
    assert all(p.grad is not None for p in model.parameters())
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, optimizer, loader = private(PrivacyEngine())
        epoch(model, optimizer, loader)


def test_the_optimiser_is_what_scripts_ask_for():
    model, optimizer, _ = private(PrivacyEngine())
    assert isinstance(optimizer, torch.optim.SGD)
    assert isinstance(optimizer, DPOptimizer)
    assert not isinstance(torch.optim.SGD(model.parameters(), lr=0.1), DPOptimizer)
    assert sorted(optimizer.state_dict()) == ["param_groups", "state"]


def test_layers_are_torchs_own():
    assert (DPRNN, DPLSTM, DPGRU, DPMultiheadAttention) == (nn.RNN, nn.LSTM, nn.GRU, nn.MultiheadAttention)
    model = net()
    assert GradSampleModule(model) is model
    assert register_grad_sampler(nn.Linear)(len) is len


@pytest.mark.parametrize("module", PROVIDED)
def test_the_migration_knows_what_there_is(module):
    found = import_module(".".join(part for part in ("clifftop.compat.opacus", module) if part))
    for name in PROVIDED[module]:
        below = ".".join(part for part in (module, name) if part)
        if below in PROVIDED:
            import_module(f"clifftop.compat.opacus.{below}")
        assert hasattr(found, name)


# ------------------------------------------------------------------ validators


def norms():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Sequential(nn.BatchNorm2d(8), nn.InstanceNorm2d(8, affine=True, track_running_stats=True)),
        nn.Flatten(),
        nn.LazyLinear(5),
        nn.BatchNorm1d(5),
    )


def test_what_mixes_examples_is_found_and_replaced():
    model = norms()
    model(torch.randn(4, 3, 6, 6))
    with torch.no_grad():
        model[1].weight.uniform_(0.5, 2)
    found = ModuleValidator.validate(model)
    assert [type(error) for error in found] == [
        ShouldReplaceModuleError,
        ShouldReplaceModuleError,
        IllegalModuleConfigurationError,
        ShouldReplaceModuleError,
    ]
    assert "'2.0'" in str(found[1])
    with pytest.raises(UnsupportedModuleError, match="BatchNorm2d at '1'"):
        private(PrivacyEngine(), model)
    fixed = PrivacyEngine.get_compatible_module(model)
    assert ModuleValidator.is_valid(fixed)
    assert not ModuleValidator.is_valid(model)
    assert torch.equal(fixed[1].weight, model[1].weight)
    assert fixed[1].num_groups == 4  # two channels a group at least
    assert fixed[5].num_groups == 1
    assert fixed[5](torch.randn(3, 5)).abs().min() > 0


def test_a_single_batch_norm_is_replaced_too():
    assert isinstance(ModuleValidator.fix(nn.BatchNorm3d(64)), nn.GroupNorm)
    assert ModuleValidator.fix(nn.BatchNorm2d(48)).num_groups == 16


def test_a_frozen_layer_is_left():
    model = norms()
    model.eval()
    assert ModuleValidator.is_valid(model)


# ------------------------------------------------------------------ checkpoints


def test_a_checkpoint_is_weights_and_numbers(tmp_path):
    engine = PrivacyEngine()
    model, optimizer, loader = private(engine)
    epoch(model, optimizer, loader)
    engine.save_checkpoint(
        path=tmp_path / "c.pt", module=model, optimizer=optimizer, checkpoint_dict={"epoch": 3}
    )
    assert torch.load(tmp_path / "c.pt", weights_only=True)["epoch"] == 3
    other = PrivacyEngine()
    fresh, optimizer, loader = private(other)
    state = other.load_checkpoint(path=tmp_path / "c.pt", module=fresh, optimizer=optimizer)
    assert state["epoch"] == 3
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))
    assert other.get_epsilon(1e-3) == engine.get_epsilon(1e-3)
    epoch(fresh, optimizer, loader)
    assert other.accountant.history == [(1.0, 0.25, 8)]


def test_no_noise_comes_twice_after_loading(tmp_path):
    """With a generator of one's own, a resumed run would otherwise repeat the noise of its first steps."""
    zeros = DataLoader(TensorDataset(torch.zeros(5, 4), torch.zeros(5, dtype=torch.long)), 5)

    def start():
        engine = PrivacyEngine()
        model = nn.Linear(4, 2)
        nn.init.zeros_(model.weight)
        made = private(engine, model, zeros, noise_generator=torch.Generator().manual_seed(4))
        return engine, *made

    engine, model, optimizer, loader = start()
    epoch(model, optimizer, loader)
    first = model.weight.grad.clone()
    engine.save_checkpoint(path=tmp_path / "c.pt", module=model)
    engine, model, optimizer, loader = start()
    epoch(model, optimizer, loader)
    assert torch.equal(model.weight.grad, first)
    engine, model, optimizer, loader = start()
    engine.load_checkpoint(path=tmp_path / "c.pt", module=model)
    epoch(model, optimizer, loader)
    assert not torch.equal(model.weight.grad, first)


def test_a_checkpoint_of_opacus_loads(tmp_path):
    """Its names have a prefix, and its account is a history."""
    model = net()
    stored = {
        "module_state_dict": {f"_module.{name}": value for name, value in model.state_dict().items()},
        "privacy_accountant_state_dict": {"history": [(1.0, 0.25, 4)], "mechanism": "prv"},
    }
    torch.save(stored, tmp_path / "opacus.pt")
    engine = PrivacyEngine()
    fresh, _, _ = private(engine)
    engine.load_checkpoint(path=tmp_path / "opacus.pt", module=fresh)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))
    assert len(engine.accountant) == 4
