"""A text classifier: word embeddings, averaged over each text's own words."""

import torch
from opacus import PrivacyEngine
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(2)
VOCABULARY, CLASSES, PADDING = 400, 3, 0


class Texts(Dataset):
    def __init__(self, count):
        self.labels = torch.randint(0, CLASSES, (count,)).tolist()
        self.texts = [
            torch.randint(1 + 130 * label, 130 * (label + 1), (int(torch.randint(4, 20, ())),))
            for label in self.labels
        ]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.labels[index], self.texts[index]


def padded_collate(batch):
    labels, texts = zip(*batch, strict=True)
    tokens = nn.utils.rnn.pad_sequence(list(texts), batch_first=True, padding_value=PADDING)
    return torch.tensor(labels), tokens


class SampleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(VOCABULARY, 16, padding_idx=PADDING)
        self.fc1 = nn.Linear(16, 16)
        self.fc2 = nn.Linear(16, CLASSES)

    def forward(self, tokens):
        present = (tokens != PADDING).unsqueeze(-1)
        mean = (self.emb(tokens) * present).sum(1) / present.sum(1)
        return self.fc2(torch.relu(self.fc1(mean)))


def binary_accuracy(predictions, labels):
    return (predictions.argmax(dim=1) == labels).float().mean().item()


model = SampleNet()
optimizer = optim.Adam(model.parameters(), lr=0.02)
train_loader = DataLoader(Texts(256), batch_size=64, collate_fn=padded_collate)
privacy_engine = PrivacyEngine()
model, optimizer, train_loader = privacy_engine.make_private(
    module=model,
    optimizer=optimizer,
    data_loader=train_loader,
    noise_multiplier=0.8,
    max_grad_norm=1.0,
    poisson_sampling=False,
)
criterion = nn.CrossEntropyLoss()
losses, accuracies = [], []
for _ in range(2):
    for label, text in train_loader:
        optimizer.zero_grad()
        predictions = model(text)
        loss = criterion(predictions, label)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        accuracies.append(binary_accuracy(predictions.detach(), label))
epsilon = privacy_engine.get_epsilon(delta=1e-3)
print(f"loss {losses[-1]:.4f} accuracy {accuracies[-1]:.2f} epsilon {epsilon:.2f}")
