"""Recurrent networks and text classifiers: LSTM tagger, GRU classifier, char-RNN, convolutions over words."""

from __future__ import annotations

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@final
class LSTMTagger(nn.Module):
    """A tag for each token: embedding, bidirectional LSTM, one linear layer."""

    def __init__(
        self, *, vocabulary: int = 10000, embedding: int = 100, hidden: int = 128, tags: int = 17
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, tags)

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` token numbers to logits ``(B, T, tags)``."""
        return self.head(self.lstm(self.embedding(ids))[0])


@final
class GRUClassifier(nn.Module):
    """A class for a sequence: a GRU, sequence first inside, and a linear layer on its last state."""

    def __init__(
        self, *, features: int = 32, hidden: int = 128, num_layers: int = 2, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(features, hidden, num_layers=num_layers)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, features)`` to ``(B, num_classes)``."""
        _, last = self.gru(x.transpose(0, 1))
        return self.head(last[-1])


@final
class CharRNN(nn.Module):
    """A language model of characters: embedding, stacked LSTM from a zero state, linear layer."""

    def __init__(
        self, *, vocabulary: int = 100, embedding: int = 64, hidden: int = 128, num_layers: int = 2
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.rnn = nn.LSTM(embedding, hidden, num_layers=num_layers, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` character numbers to logits ``(B, T, vocabulary)``."""
        embedded = self.embedding(ids)
        shape = (self.rnn.num_layers, ids.shape[0], self.rnn.hidden_size)
        start = (embedded.new_zeros(shape), embedded.new_zeros(shape))
        return self.head(self.rnn(embedded, start)[0])


@final
class TextCNN(nn.Module):
    """Convolutions of several widths over words (Kim 2014, arXiv:1408.5882) beside a bag of words."""

    def __init__(
        self,
        *,
        vocabulary: int = 20000,
        embedding: int = 128,
        filters: int = 100,
        widths: tuple[int, ...] = (3, 4, 5),
        num_classes: int = 2,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, embedding, padding_idx=0)
        self.bag = nn.EmbeddingBag(vocabulary, embedding, mode="mean")
        self.convs = nn.ModuleList(nn.Conv1d(embedding, filters, width) for width in widths)
        self.head = nn.Linear(filters * len(widths) + embedding, num_classes)

    def forward(self, ids: Tensor) -> Tensor:
        """``(B, T)`` token numbers to ``(B, num_classes)``, with T at least the widest filter."""
        words = self.words(ids).transpose(1, 2)
        pooled = [F.relu(conv(words)).amax(dim=2) for conv in self.convs]
        return self.head(torch.cat([*pooled, self.bag(ids)], dim=1))
