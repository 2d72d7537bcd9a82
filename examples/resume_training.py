"""A private run that can be stopped at any moment and started again: it goes on where it was.

Run it twice, or interrupt it in between. The folder holds the checkpoint, which is a secret, and the ledger.
"""

import math
import sys
from pathlib import Path

import torch

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, Trainer, cross_entropy
from clifftop.accounting import Ledger
from clifftop.datasets import gaussian_clusters
from clifftop.training import TerminalProgress

RELATION, DELTA = NeighboringRelation.ADD_OR_REMOVE_ONE, 1e-5

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("out/resume")
folder.mkdir(parents=True, exist_ok=True)
checkpoint, accounts = folder / "run.pt", folder / "clusters.ledger"
if accounts.exists():
    ledger = Ledger.open(accounts, neighboring_relation=RELATION, delta=DELTA)
else:
    ledger = Ledger.create(accounts, dataset="clusters", neighboring_relation=RELATION, delta=DELTA)

data = gaussian_clusters(seed=42, normalise=False)
model = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Linear(64, 5))
trainer = Trainer(
    module=model,
    criterion=cross_entropy,
    optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
    plan=PrivacyPlan(
        sampler=Poisson(sampling_prob=64 / data.num_train),
        clipping=Flat(clip_norm=1.0),
        noise=Gaussian(noise_multiplier=2.0),
        neighboring_relation=RELATION,
        expected_batch_size=64,
    ),
    inputs=(torch.from_numpy(data.train_inputs),),
    targets=(torch.from_numpy(data.train_targets),),
    ledger=ledger,
)
if checkpoint.exists():
    trainer.load(checkpoint)
found = trainer.steps_done
trainer.fit(
    steps=trainer.steps_in(epochs=20) - found,
    checkpoint=checkpoint,
    checkpoint_every=10,
    progress=TerminalProgress(),
)
epsilon = math.ceil(ledger.epsilon().upper * 1000) / 1000  # never rounded down
print(f"{trainer.steps_done - found} steps taken, {trainer.steps_done} in all")
print(f"epsilon <= {epsilon:.3f} at delta = {DELTA:g} so far")
