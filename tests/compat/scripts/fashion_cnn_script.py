"""A small convolutional network on images of clothes; the classic first script."""

import gzip
from pathlib import Path

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

FOLDER = Path("/usr/share/datasets/fashion-mnist")
DELTA = 1e-4
BATCH_SIZE = 64
NOISE_MULTIPLIER = 1.1

torch.manual_seed(0)


def read(kind, count):
    """Images and labels from the system's files, or images of noise where there are none."""
    images, labels = (FOLDER / f"{kind}-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1"))
    if not images.exists():
        y = torch.arange(count) % 10
        return torch.randn(count, 1, 28, 28) + y.view(-1, 1, 1, 1) / 3, y
    with gzip.open(images) as pixels, gzip.open(labels) as classes:
        x = np.frombuffer(pixels.read(16 + 784 * count), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        y = np.frombuffer(classes.read(8 + count), np.uint8, offset=8)
    return (torch.tensor(x) / 255 - 0.286) / 0.353, torch.tensor(y).long()


class SampleConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 8, 2, padding=3)
        self.conv2 = nn.Conv2d(16, 32, 4, 2)
        self.fc1 = nn.Linear(32 * 4 * 4, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2, 1)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2, 1)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


def train(model, train_loader, optimizer):
    model.train()
    criterion = nn.CrossEntropyLoss()
    losses = []
    for data, target in train_loader:
        optimizer.zero_grad()
        output = model(data)
        loss = criterion(output, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test(model, test_loader):
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for data, target in test_loader:
            correct += (model(data).argmax(dim=1) == target).sum().item()
            total += len(target)
    return correct / total


train_loader = DataLoader(TensorDataset(*read("train", 1024)), batch_size=BATCH_SIZE, shuffle=True)
test_loader = DataLoader(TensorDataset(*read("t10k", 512)), batch_size=256)
model = SampleConvNet()
optimizer = optim.SGD(model.parameters(), lr=0.5)
privacy_engine = PrivacyEngine()
model, optimizer, train_loader = privacy_engine.make_private(
    module=model,
    optimizer=optimizer,
    data_loader=train_loader,
    noise_multiplier=NOISE_MULTIPLIER,
    max_grad_norm=1.0,
)
for epoch in range(1, 3):
    losses = train(model, train_loader, optimizer)
    epsilon = privacy_engine.get_epsilon(DELTA)
    print(f"Epoch {epoch} loss {np.mean(losses):.4f} (epsilon = {epsilon:.2f}, delta = {DELTA})")
accuracy = test(model, test_loader)
print(f"accuracy {accuracy:.3f}")
