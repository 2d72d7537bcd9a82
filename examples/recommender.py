"""A private recommender: three tables of 100,000 rows, of which a step touches a few hundred."""

import math
import time

import torch

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan, accounting
from clifftop.batching import Examples, draw_batch
from clifftop.gradients import PerExampleLoss, TapeEngine
from clifftop.noise import Secure
from clifftop.private_gradient import initial_state
from clifftop.tables import DeferredTables, private_step

ROWS, EXAMPLES, BATCH, STEPS, DELTA = 100_000, 20_000, 256, 150, 1e-5


class Recommender(torch.nn.Module):
    """Users, items and shops, 16 numbers each, and a small network over them."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = torch.nn.ModuleList(torch.nn.Embedding(ROWS, 16, sparse=True) for _ in range(3))
        self.top = torch.nn.Sequential(torch.nn.Linear(48, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Row numbers ``(B, 3)`` to logits ``(B,)``."""
        rows = [table(ids[:, k]) for k, table in enumerate(self.tables)]
        return self.top(torch.cat(rows, dim=1)).squeeze(1)


torch.manual_seed(1)
# Some rows are popular, most are rare, as in life; what is clicked depends on the item alone.
ids = (ROWS * torch.rand(EXAMPLES, 3) ** 8).long()
clicked = (ids[:, 1] % 2).float()

model = Recommender()
optimizer = torch.optim.SGD(model.parameters(), lr=2.0)
tables = DeferredTables(model, optimizer, seed=1)
dense = {name: p for name, p in model.named_parameters() if name not in tables.names}
plan = PrivacyPlan(
    sampler=Poisson(sampling_prob=BATCH / EXAMPLES),
    clipping=Flat(clip_norm=1.0),
    noise=Gaussian(noise_multiplier=1.0),
    neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    expected_batch_size=BATCH,
)
loss = PerExampleLoss(module=model, criterion=torch.nn.BCEWithLogitsLoss(reduction="none"))
engine, streams = TapeEngine(), Secure().open([2])
examples = Examples(inputs=(ids[None],), targets=(clicked[None],))
state = initial_state([plan], next(iter(dense.values())))

began = time.process_time()
for step in range(STEPS):
    noisy, state, _ = private_step(
        tables=tables,
        plan=plan,
        engine=engine,
        loss=loss,
        params={name: p.detach()[None] for name, p in dense.items()},
        batch=draw_batch(plan.sampler, examples, streams, step),
        state=state,
        streams=streams.at(step),
        diagnose=False,
    )
    for name, p in dense.items():
        p.grad = noisy.value[name][0]
    optimizer.step()
milliseconds = 1e3 * (time.process_time() - began) / STEPS

tables.flush()  # before anything of the model is seen
with torch.no_grad():
    accuracy = ((model(ids) > 0) == (clicked > 0)).float().mean().item()
spent = accounting.epsilon(
    plan.event(steps=STEPS, num_examples=EXAMPLES),
    delta=DELTA,
    neighboring_relation=plan.neighboring_relation,
)
epsilon = math.ceil(spent.upper * 1000) / 1000  # never rounded down
numbers = sum(p.numel() for p in model.parameters())
print(f"{numbers:,} numbers trained at {milliseconds:.1f} ms a step of processor time")
print(f"training accuracy {accuracy:.2f} at epsilon <= {epsilon:.3f}, delta = {DELTA:g}")
