"""A run that a test kills: trains to the end, from its checkpoint if there is one, and says each step."""

import sys
from pathlib import Path

import torch
from torch import nn

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, Trainer, cross_entropy
from clifftop.accounting import Ledger

RELATION = NeighboringRelation.ADD_OR_REMOVE_ONE


def main(folder: Path, steps: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    data = torch.randn(80, 5)
    path = folder / "ledger"
    if path.exists():
        ledger = Ledger.open(path, neighboring_relation=RELATION, delta=1e-5)
    else:
        ledger = Ledger.create(path, dataset="test", neighboring_relation=RELATION, delta=1e-5)
    trainer = Trainer(
        module=model,
        criterion=cross_entropy,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps),
        plan=PrivacyPlan(
            sampler=Poisson(sampling_prob=0.2),
            clipping=Flat(clip_norm=1.0),
            noise=Gaussian(noise_multiplier=1.0),
            neighboring_relation=RELATION,
            expected_batch_size=16,
        ),
        inputs=(data,),
        targets=(data[:, :3].argmax(1),),
        seed=7,
        ledger=ledger,
        charge_steps=40,
    )
    checkpoint = folder / "run.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
    trainer.fit(
        steps=steps - trainer.steps_done,
        checkpoint=checkpoint,
        checkpoint_every=3,
        on_step=lambda step, record: print(step, flush=True),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
