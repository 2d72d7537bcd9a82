"""Which language does a name come from? A recurrent network over characters."""

import random
import string

import torch
from opacus import PrivacyEngine
from opacus.layers import DPLSTM
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

random.seed(0)
torch.manual_seed(0)
LETTERS = string.ascii_lowercase
ENDINGS = ["ov", "ez", "son", "ini"]


def names(count):
    stems = ["".join(random.choices(LETTERS, k=random.randint(2, 6))) for _ in range(count)]
    return [(stem + ENDINGS[i % 4], i % 4) for i, stem in enumerate(stems)]


def collate(batch):
    rows = [torch.tensor([1 + LETTERS.index(c) for c in name]) for name, _ in batch]
    lengths = torch.tensor([len(row) for row in rows])
    padded = pad_sequence(rows, batch_first=True, padding_value=0)
    return padded, lengths, torch.tensor([label for _, label in batch])


class CharNNClassifier(nn.Module):
    def __init__(self, embedding_size, hidden_size, output_size):
        super().__init__()
        self.embedding = nn.Embedding(1 + len(LETTERS), embedding_size)
        self.lstm = DPLSTM(embedding_size, hidden_size, num_layers=1, batch_first=True)
        self.out_layer = nn.Linear(hidden_size, output_size)

    def forward(self, x, lengths, hidden=None):
        x = self.embedding(x)
        x, _ = self.lstm(x, hidden)
        last = x[torch.arange(len(x)), lengths - 1]
        return self.out_layer(last)


train_loader = DataLoader(names(300), batch_size=50, collate_fn=collate, shuffle=True)
model = CharNNClassifier(16, 24, 4)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
privacy_engine = PrivacyEngine()
model, optimizer, train_loader = privacy_engine.make_private(
    module=model, optimizer=optimizer, data_loader=train_loader, noise_multiplier=1.0, max_grad_norm=1.5
)
losses = []
for epoch in range(2):
    for padded, lengths, labels in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(padded, lengths), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    epsilon = privacy_engine.get_epsilon(delta=8e-4)
    print(f"epoch {epoch}: loss {losses[-1]:.4f}, epsilon {epsilon:.2f}")
