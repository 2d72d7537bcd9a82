"""Freeze scores of random outputs as scikit-learn computes them.

Run as ``python tests/oracles/make_scores.py`` with scikit-learn installed; it writes ``scores.json`` beside
itself. The outputs follow from NumPy's generator with the seed that is written there.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

SEED, ROWS, CLASSES = 7, 400, 5


def main() -> None:
    """Write the file."""
    import sklearn
    from sklearn.metrics import brier_score_loss, log_loss, recall_score

    rng = np.random.default_rng(SEED)
    logits, noise = rng.normal(size=(ROWS, CLASSES)), rng.normal(size=(ROWS, CLASSES))
    targets = (logits + noise).argmax(1)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    ones = (targets == 0).astype(int)
    one = 1 / (1 + np.exp(-logits[:, 0]))
    found = {
        "scikit-learn": sklearn.__version__,
        "seed": SEED,
        "rows": ROWS,
        "classes": CLASSES,
        "brier": brier_score_loss(targets, probabilities, scale_by_half=False),
        "binary_brier": brier_score_loss(ones, one),
        "loss": log_loss(targets, probabilities),
        "binary_loss": log_loss(ones, one),
        "recall": recall_score(targets, probabilities.argmax(1), average=None).tolist(),
        "binary_recall": recall_score(ones, one > 0.5, average=None).tolist(),
    }
    Path(__file__).with_name("scores.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
