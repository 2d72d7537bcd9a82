"""A network with group normalisation on small colour images, in a mode that hands the criterion back."""

import torch
import torch.nn.functional as F
from opacus import PrivacyEngine
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(1)


def convnet(num_classes):
    layers = []
    channels = 3
    for width in (16, 32):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.GroupNorm(4, width), nn.ReLU()]
        channels = width
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(start_dim=1, end_dim=-1), nn.Linear(32, num_classes)
    )


class Coloured(torch.utils.data.Dataset):
    """Images with a colour of their class, turned over at random as augmentation."""

    def __init__(self, count):
        self.labels = torch.arange(count) % 5
        self.images = torch.randn(count, 3, 16, 16) + F.one_hot(self.labels % 3, 3).float()[:, :, None, None]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        image = self.images[index]
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), self.labels[index]


train_loader = DataLoader(Coloured(320), batch_size=32, num_workers=0, pin_memory=False)
test_loader = DataLoader(Coloured(64), batch_size=32)
model = convnet(5)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
criterion = nn.CrossEntropyLoss()
privacy_engine = PrivacyEngine(accountant="rdp", secure_mode=False)
model, optimizer, criterion, train_loader = privacy_engine.make_private(
    module=model,
    optimizer=optimizer,
    criterion=criterion,
    data_loader=train_loader,
    noise_multiplier=1.5,
    max_grad_norm=5.0,
    grad_sample_mode="ghost",
)
losses = []
for _epoch in range(1):
    model.train()
    for images, target in train_loader:
        output = model(images)
        loss = criterion(output, target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.item()))
model.eval()
accuracies = [(model(images).argmax(1) == target).float().mean().item() for images, target in test_loader]
epsilon = privacy_engine.accountant.get_epsilon(delta=1e-3)
print(f"loss {losses[-1]:.3f}, test accuracy {sum(accuracies) / len(accuracies):.2f}, epsilon {epsilon:.2f}")
