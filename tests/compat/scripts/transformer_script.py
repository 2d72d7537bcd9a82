"""A transformer encoder with the library's attention layer, dropout included."""

import math

import torch
from opacus import PrivacyEngine
from opacus.layers import DPMultiheadAttention
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(7)


class EncoderLayer(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.attention = DPMultiheadAttention(width, heads, dropout=0.0, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        h = self.norm1(x)
        h, _ = self.attention(h, h, h, need_weights=False)
        x = x + h
        return x + self.feed_forward(self.norm2(x))


class Classifier(nn.Module):
    def __init__(self, vocabulary, width, classes, length):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        position = torch.arange(length).unsqueeze(1)
        frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        encoding = torch.zeros(length, width)
        encoding[:, 0::2], encoding[:, 1::2] = (
            torch.sin(position * frequency),
            torch.cos(position * frequency),
        )
        self.register_buffer("encoding", encoding)
        self.layers = nn.ModuleList(EncoderLayer(width, 4, 0.1) for _ in range(2))
        self.head = nn.Linear(width, classes)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.encoding[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


tokens = torch.randint(0, 50, (200, 12))
labels = (tokens < 25).sum(1).gt(6).long()
train_loader = DataLoader(TensorDataset(tokens, labels), batch_size=25, shuffle=True)
model = Classifier(50, 32, 2, 12)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
privacy_engine = PrivacyEngine(accountant="gdp")
model, optimizer, train_loader = privacy_engine.make_private(
    module=model,
    optimizer=optimizer,
    data_loader=train_loader,
    noise_multiplier=1.0,
    max_grad_norm=1.0,
    noise_generator=torch.Generator().manual_seed(11),
)
losses = []
for batch, target in train_loader:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(batch), target)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
epsilon = privacy_engine.get_epsilon(1e-3)
print(f"loss {losses[-1]:.4f}, epsilon {epsilon:.3f}")
