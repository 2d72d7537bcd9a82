"""One private run on two processes of this machine: the same model as one process would train."""

import math
import tempfile
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, Trainer, cross_entropy
from clifftop.datasets import gaussian_clusters
from clifftop.parallel import Alone, DataParallel, Ranks

WORLD_SIZE = 2


def train(ranks: Ranks) -> tuple[Trainer, float]:
    """Every rank builds the same trainer; only ``ranks`` tells it that it is not alone."""
    data = gaussian_clusters(seed=42, normalise=False)
    torch.manual_seed(42)
    model = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.ReLU(), torch.nn.Linear(64, 5))
    trainer = Trainer(
        module=model,
        criterion=cross_entropy,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        plan=PrivacyPlan(
            sampler=Poisson(sampling_prob=64 / data.num_train),
            clipping=Flat(clip_norm=1.0),
            noise=Gaussian(noise_multiplier=2.0),
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            expected_batch_size=64,
        ),
        inputs=(torch.from_numpy(data.train_inputs),),
        targets=(torch.from_numpy(data.train_targets),),
        seed=42,  # to compare with one process; leave it out, and rank 0 draws one for all
        ranks=ranks,
    )
    trainer.fit(steps=140)
    with torch.no_grad():
        predicted = model(torch.from_numpy(data.test_inputs)).argmax(dim=1)
    return trainer, (predicted == torch.from_numpy(data.test_targets)).float().mean().item()


def main(rank: int, folder: str) -> None:
    """What each process does; torchrun would set rank and size, and a network address instead of a file."""
    torch.set_num_threads(1)
    meeting = (Path(folder) / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORLD_SIZE)
    trainer, accuracy = train(DataParallel(timeout=timedelta(seconds=60)))
    if rank == 0:
        alone, _ = train(Alone())
        pairs = zip(trainer.module.parameters(), alone.module.parameters(), strict=True)
        apart = max((a - b).abs().max().item() for a, b in pairs)
        epsilon = math.ceil(trainer.epsilon(delta=1e-5).upper * 1000) / 1000  # never rounded down
        print(f"{WORLD_SIZE} ranks: test accuracy {accuracy:.2f} at epsilon <= {epsilon:.3f}, delta = 1e-5")
        print(f"parameters equal those of one process to {apart:.0e}")
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(main, args=(folder,), nprocs=WORLD_SIZE)
