"""One private run on the study's clusters, with what it cost and what it reached."""

import math

import torch

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, Trainer, cross_entropy
from clifftop.datasets import gaussian_clusters

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
    seed=42,
)
trainer.fit(steps=140)

with torch.no_grad():
    predicted = model(torch.from_numpy(data.test_inputs)).argmax(dim=1)
accuracy = (predicted == torch.from_numpy(data.test_targets)).float().mean().item()
epsilon = math.ceil(trainer.epsilon(delta=1e-5).upper * 1000) / 1000  # never rounded down
print(f"test accuracy {accuracy:.2f} at epsilon <= {epsilon:.3f}, delta = 1e-5")
