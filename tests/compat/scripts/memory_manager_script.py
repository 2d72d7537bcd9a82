"""Large batches on a small machine: logical batches of 128 in parts of 24."""

import numpy as np
import torch
from opacus import PrivacyEngine
from opacus.utils.batch_memory_manager import BatchMemoryManager
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

MAX_PHYSICAL_BATCH_SIZE = 24

torch.manual_seed(5)
x = torch.randn(512, 1, 12, 12)
y = (x.mean((1, 2, 3)) > 0).long()
train_loader = DataLoader(TensorDataset(x, y), batch_size=128)
model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 25, 2))
optimizer = optim.SGD(model.parameters(), lr=0.2)
scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
privacy_engine = PrivacyEngine()
model, optimizer, train_loader = privacy_engine.make_private(
    module=model, optimizer=optimizer, data_loader=train_loader, noise_multiplier=1.2, max_grad_norm=1.0
)


def train(epoch):
    criterion = nn.CrossEntropyLoss()
    seen, sizes = [], []
    with BatchMemoryManager(
        data_loader=train_loader, max_physical_batch_size=MAX_PHYSICAL_BATCH_SIZE, optimizer=optimizer
    ) as memory_safe_data_loader:
        for i, (images, target) in enumerate(memory_safe_data_loader):
            optimizer.zero_grad()
            output = model(images)
            loss = criterion(output, target)
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
            sizes.append(len(target))
            if (i + 1) % 10 == 0:
                epsilon = privacy_engine.get_epsilon(1e-3)
                print(f"epoch {epoch} part {i + 1}: loss {np.mean(seen):.4f}, epsilon {epsilon:.2f}")
    return seen, sizes


losses, sizes = [], []
for epoch in range(2):
    found, parts = train(epoch)
    losses += found
    sizes += parts
    scheduler.step()
epsilon = privacy_engine.get_epsilon(delta=1e-3)
assert max(sizes) <= MAX_PHYSICAL_BATCH_SIZE
print(f"{len(sizes)} parts, epsilon {epsilon:.3f}")
