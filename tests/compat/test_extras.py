"""Without its optional package, each integration ends in one line that names the extra."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from clifftop.compat import extras
from clifftop.compat.extras import MissingExtra, require_extra
from clifftop.compat.lightning import LaterLoader, PrivateTraining
from clifftop.compat.privacy import Privacy
from clifftop.compat.transformers import PrivateTrainer, classification_loss, next_token_loss

PRIVACY = Privacy(max_grad_norm=1.0, delta=1e-3, noise_multiplier=1.0)


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda _: None)


def test_lightning_is_absent(absent):
    loader = DataLoader(TensorDataset(torch.zeros(4, 1)), 2)
    with pytest.raises(MissingExtra, match=r"^the package lightning .*pip install 'clifftop\[lightning\]'$"):
        PrivateTraining(data_loader=loader, privacy=PRIVACY)


def test_transformers_is_absent(absent):
    with pytest.raises(MissingExtra, match=r"^the package transformers .*'clifftop\[transformers\]'$"):
        PrivateTrainer(privacy=PRIVACY, per_example_loss=classification_loss)


def test_what_is_there_is_not_asked_for():
    require_extra("torch", extra="lightning")


def test_a_loader_without_its_callback_says_so():
    later = LaterLoader(3)
    assert len(later) == 3
    with pytest.raises(ValueError, match="callback"):
        iter(later)


@pytest.mark.parametrize("numbers", [{}, {"noise_multiplier": 1.0, "target_epsilon": 1.0}])
def test_noise_or_target(numbers):
    with pytest.raises(ValueError, match="either noise_multiplier or target_epsilon"):
        Privacy(max_grad_norm=1.0, delta=1e-5, **numbers)


def test_an_example_is_averaged_over_its_own_tokens():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 7), torch.randint(0, 7, (3, 5))
    labels[0, 2:] = -100
    labels[2] = -100
    found = next_token_loss(logits, labels)
    first = torch.nn.functional.cross_entropy(logits[0, :1], labels[0, 1:2])
    second = torch.nn.functional.cross_entropy(logits[1, :-1], labels[1, 1:])
    assert torch.allclose(found, torch.stack([first, second, torch.tensor(0.0)]))
    alone = next_token_loss(logits[1:2], labels[1:2])
    assert torch.allclose(found[1:2], alone)
