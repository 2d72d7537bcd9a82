"""Train, store, and go on in new objects, with a learning-rate schedule."""

import tempfile
from pathlib import Path

import torch
from opacus import PrivacyEngine
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(8)
x = torch.randn(300, 8)
y = x[:, :3].argmax(1)
dataset = TensorDataset(x, y)


def build():
    model = nn.Sequential(nn.Linear(8, 24), nn.ELU(), nn.Linear(24, 3))
    optimizer = optim.SGD(model.parameters(), lr=0.3, momentum=0.5)
    engine = PrivacyEngine(accountant="rdp")
    model, optimizer, loader = engine.make_private(
        module=model,
        optimizer=optimizer,
        data_loader=DataLoader(dataset, batch_size=30, drop_last=True),
        noise_multiplier=1.3,
        max_grad_norm=1.0,
    )
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch)
    return engine, model, optimizer, loader, scheduler


def run_epoch(model, optimizer, loader):
    losses = []
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


privacy_engine, model, optimizer, loader, scheduler = build()
losses = run_epoch(model, optimizer, loader)
scheduler.step()
before = privacy_engine.get_epsilon(delta=1e-3)
path = Path(tempfile.mkdtemp()) / "checkpoint.pt"
privacy_engine.save_checkpoint(
    path=path,
    module=model,
    optimizer=optimizer,
    checkpoint_dict={"epoch": 1, "scheduler": scheduler.state_dict()},
)

privacy_engine, model, optimizer, loader, scheduler = build()
checkpoint = privacy_engine.load_checkpoint(path=path, module=model, optimizer=optimizer)
assert checkpoint["epoch"] == 1
scheduler.load_state_dict(checkpoint["scheduler"])
assert abs(privacy_engine.get_epsilon(delta=1e-3) - before) < 1e-9
losses += run_epoch(model, optimizer, loader)
scheduler.step()
epsilon = privacy_engine.get_epsilon(delta=1e-3)
assert epsilon > before
print(f"epsilon {before:.3f} -> {epsilon:.3f}, lr {scheduler.get_last_lr()[0]:.3f}, loss {losses[-1]:.3f}")
