"""A Lightning run with the callback, where Lightning is installed."""

import copy
import logging
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clifftop.compat.loop import LoopError
from clifftop.compat.privacy import Privacy

lightning = pytest.importorskip("lightning.pytorch")

from clifftop.compat.lightning import PrivateTraining  # noqa: E402  after the package is known to be there

pytestmark = pytest.mark.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Net(lightning.LightningModule):
    def __init__(self, *, whole=True):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
        self.whole = whole
        self.rows = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        x, y, rows = batch
        self.rows.append(rows)
        return nn.functional.cross_entropy(self(x) if self.whole else self.net(x), y)

    def validation_step(self, batch, _):
        x, y, _ = batch
        self.log("val", nn.functional.cross_entropy(self(x), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 5, generator=generator)
    return TensorDataset(x, (x[:, 0] > 0).long(), torch.arange(60))


def fit(model, privacy, *, submodule="", epochs=2, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        private = PrivateTraining(
            data_loader=DataLoader(data(), 20, shuffle=True), privacy=privacy, submodule=submodule
        )
        trainer = lightning.Trainer(
            max_epochs=epochs,
            callbacks=[private],
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
        trainer.fit(model, private.data_loader, DataLoader(data(), 30))
    return trainer, private


@pytest.mark.parametrize(("whole", "submodule"), [(True, ""), (False, "net")])
def test_clipped_steps_equal_one_backward_pass_an_example(whole, submodule):
    torch.manual_seed(0)
    model = Net(whole=whole)
    oracle = copy.deepcopy(model)
    privacy = Privacy(max_grad_norm=0.3, delta=1e-3, noise_multiplier=0.0)
    trainer, private = fit(model, privacy, submodule=submodule)
    assert trainer.global_step == 6
    assert private.engine.accountant.history == [(0.0, 20 / 60, 6)]
    x, y, _ = data().tensors
    params = list(oracle.parameters())
    for rows in model.rows:
        total = [torch.zeros_like(p) for p in params]
        for i in rows:
            grads = torch.autograd.grad(
                nn.functional.cross_entropy(oracle(x[i : i + 1]), y[i : i + 1]), params
            )
            norm = torch.stack([g.norm() for g in grads]).norm()
            total = [t + min(1.0, 0.3 / norm.item()) * g for t, g in zip(total, grads, strict=True)]
        with torch.no_grad():
            for p, t in zip(params, total, strict=True):
                p.sub_(0.5 * t / 20)
    assert (
        max(float((a - b).detach().abs().max()) for a, b in zip(params, model.parameters(), strict=True))
        < 1e-5
    )


def test_epsilon_is_logged_and_meets_its_target():
    model = Net()
    names = list(model.state_dict())
    trainer, private = fit(model, Privacy(max_grad_norm=1.0, delta=1e-3, target_epsilon=2.0))
    assert 1.99 < private.epsilon().upper <= 2.0
    assert trainer.callback_metrics["epsilon"] == pytest.approx(private.epsilon().upper)
    assert "val" in trainer.callback_metrics
    assert list(model.state_dict()) == names
    other = PrivateTraining(data_loader=DataLoader(data(), 20), privacy=private.privacy)
    other.load_state_dict(private.state_dict())
    assert other.epsilon() == private.epsilon()


def test_gradients_added_up_over_batches_are_refused():
    with pytest.raises(LoopError, match=r"its own optimizer\.step"):
        fit(Net(), Privacy(max_grad_norm=1.0, delta=1e-3, noise_multiplier=1.0), accumulate_grad_batches=2)


def test_a_step_that_goes_around_the_module_is_refused():
    with pytest.raises(LoopError, match="from elsewhere"):
        fit(Net(whole=False), Privacy(max_grad_norm=1.0, delta=1e-3, noise_multiplier=1.0))
