"""A sweep file to start from."""

from __future__ import annotations

TEMPLATE = """\
# A sweep: many private runs of one model on one data set, trained together.
#
#   clifftop sweep FILE --dry-run    what would be trained, and at which epsilons
#   clifftop sweep FILE              train it; the same command resumes, and extends what was changed below
#
# This one needs nothing but clifftop and trains in seconds. Every key: docs/sweeps.md.

name = "first-sweep"
baselines = true        # beside them, runs without privacy: never to be released
# counterfactuals = true  # beside each run also one without noise and one without clipping, to see
                        # what costs how much; original_model = "module:callable" adds the model that
                        # was replaced to make it fit for privacy, with BatchNorm and the like
sharing = "common"      # runs of one seed share batches and noise: to study. "order" and "independent"
                        # give each run noise of its own, which a release of more than one needs

[model]
# Any callable that returns a torch.nn.Module: "module:callable". The module may lie beside this file.
# What else stands here is handed to it.
factory = "clifftop.studies.no_cliff.model:mlp"

[data]
# Any callable that returns training and test data, or a reader: reader = "csv", path = "rows.csv", ...
factory = "clifftop.datasets:gaussian_clusters"
seed = 1                # one data set for all runs; without it each seed would draw another
spread = 1.0            # the classes overlap
per_class = 400
num_train = 1000
normalise = false       # by the rows' own mean and deviation; those are private too

[privacy]
delta = 1e-5
clipping = "flat"       # or "automatic", "per-layer"
# public = true         # if anyone may see the data: then no run costs privacy

[training]
expected_batch_size = 64
epochs = 20

[optimizer]
name = "sgd"            # or adam, adamw, rmsprop, adagrad, nadam; its own options below
# momentum = 0.9

[axes]                  # whatever stands here varies, and must not stand above
target_epsilon = [1, 3, 8]
clip_norm = [0.1, 1.0]
lr = { low = 0.1, high = 10.0, scale = "log", num = 5 }
seed = { start = 0, stop = 3 }
# "model.hidden" = [32, 64]

[search]
kind = "grid"           # or "random" and "sobol" with n = 32, or "optuna"
"""
