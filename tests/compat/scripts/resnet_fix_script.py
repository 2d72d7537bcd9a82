"""A residual network written with batch normalisation, made fit by the validator."""

import torch
from opacus import PrivacyEngine
from opacus.validators import ModuleValidator
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


class BasicBlock(nn.Module):
    def __init__(self, inplanes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.downsample = nn.Sequential(
            nn.Conv2d(inplanes, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
        )

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = out + self.downsample(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.layers = nn.Sequential(BasicBlock(8, 8, 1), BasicBlock(8, 16, 2))
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.fc(self.layers(self.stem(x)).mean((2, 3)))


torch.manual_seed(6)
y = torch.arange(192) % 4
x = torch.randn(192, 3, 8, 8) + y.view(-1, 1, 1, 1).float()
train_loader = DataLoader(TensorDataset(x, y), batch_size=48)
model = ResNet(4)
errors = ModuleValidator.validate(model, strict=False)
print(len(errors), "findings, such as:", errors[-1])
model = ModuleValidator.fix(model)
assert ModuleValidator.validate(model, strict=False) == []
optimizer = optim.SGD(model.parameters(), lr=0.1)
privacy_engine = PrivacyEngine()
assert privacy_engine.is_compatible(module=model, optimizer=optimizer, data_loader=train_loader)
model, optimizer, train_loader = privacy_engine.make_private(
    module=model, optimizer=optimizer, data_loader=train_loader, max_grad_norm=1.2, noise_multiplier=0.7
)
criterion = nn.CrossEntropyLoss()
losses = []
for images, target in train_loader:
    optimizer.zero_grad()
    loss = criterion(model(images), target)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
epsilon = privacy_engine.get_epsilon(delta=1e-3)
print(f"loss {losses[-1]:.4f}, epsilon {epsilon:.2f}")
