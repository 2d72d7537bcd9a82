"""A multi-layer perceptron trained to a given epsilon."""

import argparse

import torch
import torch.nn as nn
from opacus import PrivacyEngine
from opacus.accountants.utils import get_noise_multiplier
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--epsilon", type=float, default=2.0)
parser.add_argument("--delta", type=float, default=1e-3)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch-size", type=int, default=50)
parser.add_argument("--max-per-sample-grad-norm", type=float, default=1.0)
args = parser.parse_args([])

torch.manual_seed(4)
x = torch.randn(500, 10)
y = (x[:, :1] > 0).float()
train_loader = DataLoader(TensorDataset(x, y), batch_size=args.batch_size)
model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
criterion = nn.BCEWithLogitsLoss(reduction="sum")

privacy_engine = PrivacyEngine()
model, optimizer, train_loader = privacy_engine.make_private_with_epsilon(
    module=model,
    optimizer=optimizer,
    data_loader=train_loader,
    epochs=args.epochs,
    target_epsilon=args.epsilon,
    target_delta=args.delta,
    max_grad_norm=args.max_per_sample_grad_norm,
    loss_reduction="sum",
)
print(f"Using sigma={optimizer.noise_multiplier:.4f} and C={optimizer.max_grad_norm}")
needed = get_noise_multiplier(
    target_epsilon=args.epsilon,
    target_delta=args.delta,
    sample_rate=50 / 500,
    epochs=args.epochs,
    accountant="rdp",
)
for group in optimizer.param_groups:
    group["lr"] /= args.batch_size
losses = []
for _epoch in range(args.epochs):
    for inputs, labels in train_loader:
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / args.batch_size)
epsilon = privacy_engine.get_epsilon(args.delta)
print(f"loss {losses[-1]:.3f}, epsilon {epsilon:.4f} of {args.epsilon}")
