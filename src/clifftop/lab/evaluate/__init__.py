"""Losses and scores of R runs: on their test examples, and of what clipping does to training examples."""

from clifftop.lab.evaluate.metrics import Metric, build_metric
from clifftop.lab.evaluate.passes import evaluate
from clifftop.lab.evaluate.scores import Clipping, Scores, scored_examples

__all__ = ["Clipping", "Metric", "Scores", "build_metric", "evaluate", "scored_examples"]
