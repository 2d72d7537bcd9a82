"""What one rank of a test does, in a process of its own.

Every scenario's findings go to ``scenario_NAME.WORLD_SIZE.RANK.pt`` in the folder; the tests compare.
"""

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import Dataset

from clifftop.accounting import Ledger
from clifftop.accounting.budget import EpsilonBudget
from clifftop.checks import NoChecks
from clifftop.clipping import Flat
from clifftop.criteria import cross_entropy
from clifftop.events import NeighboringRelation
from clifftop.flow import ClippedSum
from clifftop.noise import Gaussian, Keyed
from clifftop.parallel import (
    DataParallel,
    agree_on_parameters,
    agree_on_seed,
    copy_from_rank_zero,
    on_rank_zero,
    share,
)
from clifftop.plan import PrivacyPlan
from clifftop.sampling import FixedOrder, Poisson
from clifftop.training import Fixed, Trainer

NUM_EXAMPLES, STEPS, SEED = 24, 60, 5
NOISE_STEPS, NOISE_SIZE = 20, 1000
PLAN = PrivacyPlan(
    sampler=Poisson(sampling_prob=0.08),
    clipping=Flat(clip_norm=0.7),
    noise=Gaussian(noise_multiplier=0.9),
    neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    expected_batch_size=2,
)


def problem():
    """A model with dropout, its optimiser with momentum, and data: the same on every rank."""
    rng = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Dropout(0.3), nn.Linear(6, 3)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    inputs = torch.randn(NUM_EXAMPLES, 5, generator=rng, dtype=torch.float64)
    targets = torch.randint(0, 3, (NUM_EXAMPLES,), generator=rng)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    return model, optimizer, inputs, targets


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def make_trainer(ranks, *, optimizer=None, **changes):
    """The real thing on the same problem."""
    model, momentum, inputs, targets = problem()
    parts = {
        "module": model,
        "criterion": cross_entropy,
        "plan": PLAN,
        "inputs": (inputs,),
        "targets": (targets,),
        "seed": SEED,
        "ranks": ranks,
    }
    parts |= changes
    if optimizer is not None:
        momentum = optimizer(parts["module"].parameters())
    return Trainer(optimizer=momentum, **parts)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.02)


class Noting(Dataset):
    """The problem's rows, and which of them were read."""

    def __init__(self):
        _, _, self.inputs, self.targets = problem()
        self.read = []

    def __len__(self):
        return NUM_EXAMPLES

    def __getitem__(self, row):
        self.read.append(row)
        return self.inputs[row], self.targets[row]


def fixed_order_plan():
    """Batches of 5 and a last one of 4, divided by their own size."""
    return replace(
        PLAN,
        sampler=FixedOrder(batch_size=5),
        neighboring_relation=NeighboringRelation.ZERO_OUT,
        expected_batch_size=None,
    )


def scenario_trainer(ranks, folder):
    found = {}
    for name, (steps, changes) in TRAINERS.items():
        trainer = make_trainer(ranks, **changes)
        trainer.fit(steps=steps)
        found[name] = flat(trainer.module)
    return found


def scenario_records(ranks, folder):
    """Each step's record, and how many examples this rank had."""
    records, sizes = [], []
    trainer = make_trainer(ranks)
    trainer.fit(steps=20, on_step=lambda step, record: records.append(record))
    streams = trainer.streams.open([SEED])
    for step in range(20):
        rng = partial(streams.sampling, SEED)
        sizes.append(len(ranks.shard(PLAN.sampler.batch(step, num_examples=NUM_EXAMPLES, rng=rng))))
    return {
        "sizes": sizes,
        "losses": [record.loss.item() for record in records],
        "noise norms": [record.noise_norm.item() for record in records],
    }


def scenario_rows(ranks, folder):
    """Which rows of a data set are read after the checks, which look at the first ones."""
    data = Noting()
    trainer = make_trainer(ranks, inputs=(), targets=(), dataset=data)
    trainer.step()
    data.read.clear()
    trainer.fit(steps=8)
    return data.read


def scenario_sharded_state(ranks, folder):
    """An optimiser that keeps a part of its state on each rank."""
    from torch.distributed.optim import ZeroRedundancyOptimizer  # its import warns of torch's own old parts

    def sharded(parameters):
        return ZeroRedundancyOptimizer(
            parameters, optimizer_class=torch.optim.Adam, process_group=ranks._group, lr=0.02
        )

    trainer = make_trainer(ranks, optimizer=sharded, checks=NoChecks())
    path = folder / f"sharded.{ranks.world_size}.pt"
    trainer.fit(steps=12, checkpoint=path)
    trainer.fit(steps=8)
    held = trainer.optimizer.optim.state.values()
    resumed = make_trainer(ranks, optimizer=sharded, checks=NoChecks())
    resumed.load(path)
    resumed.fit(steps=8)
    return {
        "parameters": flat(trainer.module),
        "resumed": flat(resumed.module),
        "held": sum(x.numel() for state in held for x in state.values()),
    }


def scenario_sharded_parameters(ranks, folder):
    model = problem()[0]
    if ranks._group is None:
        fully_shard(model, mesh=dist.init_device_mesh("cpu", (ranks.world_size,)))
    return message(lambda: make_trainer(ranks, module=model, optimizer=adam))


def nudge(model, *, odd):
    """On one rank only: a change that no loss would show."""
    if odd:
        with torch.no_grad():
            model[3].bias[1] += 1e-9


def scenario_start(ranks, folder):
    """What every rank says when one was started otherwise."""
    odd = ranks.rank == ranks.world_size - 1
    model, _, inputs, targets = problem()

    def moved():
        """A run on ranks that came apart after they began."""
        trainer = make_trainer(ranks)
        trainer.fit(steps=2)
        nudge(trainer.module, odd=odd)
        return trainer

    def reseeded():
        trainer = make_trainer(ranks)
        trainer.seed += odd
        return trainer

    def buffered():
        trainer = make_trainer(ranks)
        trainer.module.register_buffer("scale", torch.tensor(1.0 + odd), persistent=False)
        return trainer

    nudge(model, odd=odd)
    other = replace(PLAN, noise=Gaussian(noise_multiplier=0.91)) if odd else PLAN
    rows = NUM_EXAMPLES - odd
    calls = {
        "seed": lambda: make_trainer(ranks, seed=SEED + odd),
        "plan": lambda: make_trainer(ranks, plan=other),
        "rows": lambda: make_trainer(ranks, inputs=(inputs[:rows],), targets=(targets[:rows],)),
        "value": lambda: make_trainer(ranks, module=model, optimizer=adam),
        "steps": lambda: make_trainer(ranks).fit(steps=3 + odd),
        "block": lambda: make_trainer(ranks, charge_steps=3 + odd),
        "fit": lambda: moved().fit(steps=1),
        "save": lambda: moved().save(folder / "apart.pt"),
        "seed at fit": lambda: reseeded().fit(steps=1),
        "seed at save": lambda: reseeded().save(folder / "apart.pt"),
        "buffer at fit": lambda: buffered().fit(steps=1),
    }
    return {name: message(call) for name, call in calls.items()}


def scenario_ledger(ranks, folder):
    """Twelve steps, charged five at a time, resumed at the eighth; then a budget that ends.

    Only rank 0 has the ledger. Then only another one has.
    """
    path = folder / f"trainer.{ranks.world_size}.ledger"
    relation, at = PLAN.neighboring_relation, {"dataset": "d", "delta": 1e-5}
    budget = EpsilonBudget(target_epsilon=3.3, target_delta=1e-5, neighboring_relation=relation)
    with ExitStack() as stack:
        mine = None
        if ranks.rank == 0:
            mine = stack.enter_context(
                Ledger.create(path, neighboring_relation=relation, budget=budget, **at)
            )
        make_trainer(ranks, ledger=mine, charge_steps=5).fit(
            steps=8, checkpoint=folder / f"charged.{ranks.world_size}.pt"
        )
        trainer = make_trainer(ranks, ledger=mine, charge_steps=5)
        trainer.load(folder / f"charged.{ranks.world_size}.pt")
        trainer.fit(steps=4)
        notes = [] if mine is None else [entry.note for entry in mine.entries]
        stopped = message(lambda: trainer.fit(steps=50))
        return {
            "notes": notes,
            "stopped": stopped,
            "elsewhere": elsewhere(ranks, folder),
            "steps": trainer.steps_done,
            "parameters": flat(trainer.module),
        }


def elsewhere(ranks, folder):
    """What is said where a rank has a ledger and rank 0 has none; and of a ledger that does not fit."""
    found = []
    for holder, relation in ((1, PLAN.neighboring_relation), (0, NeighboringRelation.ZERO_OUT)):
        ledger = None
        if ranks.rank == holder:
            path = folder / f"other.{ranks.world_size}.{holder}.ledger"
            ledger = Ledger.create(path, dataset="d", neighboring_relation=relation, delta=1e-5)
        found.append(message(partial(make_trainer, ranks, ledger=ledger)))
        if ledger is not None:
            ledger.close()
    return found


def scenario_noise(ranks, folder):
    """Noise on a sum of zeros, as every rank sees it; and what it would be if each rank added its own."""
    state = PLAN.noise.init(device_of=torch.zeros(1, dtype=torch.float64))

    def noisy(seed, step):
        total = {"p": torch.zeros(1, NOISE_SIZE, dtype=torch.float64)}
        ranks.all_reduce(list(total.values()))
        clipped = ClippedSum(value=total, norm_bound=torch.ones(1, dtype=torch.float64))
        return PLAN.noise(clipped, state, Keyed().open([seed]).at(step))[0].value["p"]

    once = torch.cat([noisy(SEED, step) for step in range(NOISE_STEPS)])
    wrong = torch.cat([noisy(SEED + 1 + ranks.rank, step) for step in range(NOISE_STEPS)])
    ranks.all_reduce([wrong])
    return {"once": once, "each its own": wrong}


def scenario_collectives(ranks, folder):
    r = ranks.rank
    mixed = [
        torch.full((3, 2), r + 1.0),
        torch.full((2, 3), r + 1.0, dtype=torch.float64).t(),
        torch.full((5,), 10 * (r + 1)),
        torch.full((4,), 2.0**r, dtype=torch.bfloat16),
        torch.zeros(0),
        torch.full((), r + 1.0),
    ]
    ranks.all_reduce(mixed)
    # Values whose sum depends on the order of addition: all ranks must see the same bits.
    rng = torch.Generator().manual_seed(r)
    awkward = torch.randn(1001, generator=rng) * 10.0 ** torch.randint(-8, 8, (1001,), generator=rng)
    ranks.all_reduce([awkward])
    own = {
        "a": torch.tensor([[-0.0, float("nan")], [1.5 + r, -2.0]]),
        "b": torch.full((3,), r, dtype=torch.int64),
        "c": torch.arange(6.0).view(2, 3).t() + r,
    }
    copy_from_rank_zero(ranks, own)
    return {"mixed": mixed, "awkward": awkward, "copied": own}


def message(call):
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, its line is the finding
        return f"{type(error).__name__}: {error}"
    return ""


def scenario_agreement(ranks, folder):
    r, last = ranks.rank, ranks.world_size - 1
    odd = {"w": torch.zeros(2), "b": torch.tensor([0.0, 1.0 if r == last else 0.0])}
    renamed = {"x" if r == last else "w": torch.zeros(2)}
    calls = {
        "same": lambda: ranks.agree("plan", b"one"),
        "plan": lambda: ranks.agree("plan", b"other" if r == last else b"one"),
        "examples": lambda: ranks.agree("number of examples", str(60 + r % 2).encode()),
        "seed": lambda: agree_on_seed(ranks, 3 if r else 4),
        "some seed": lambda: agree_on_seed(ranks, 3 if r else None),
        "parameters": lambda: agree_on_parameters(ranks, {"w": torch.ones(2)}),
        "value": lambda: agree_on_parameters(ranks, odd),
        "names": lambda: agree_on_parameters(ranks, renamed),
        "order of calls": lambda: ranks.agree("this" if r else "that", b""),
    }
    return {
        "messages": {name: message(call) for name, call in calls.items()},
        "given": agree_on_seed(ranks, 7),
        "drawn": [agree_on_seed(ranks, None) for _ in range(2)],
        "shared": [
            list(share(ranks, value)) for value in (b"", b"rank 0" if r == 0 else b"no", bytes(range(256)))
        ],
    }


def scenario_once(ranks, folder):
    done = folder / f"done.{ranks.world_size}"

    def write():
        done.write_text(done.read_text() + "x" if done.exists() else "x")

    def fail():
        raise ValueError("the budget is spent")

    on_rank_zero(ranks, write)
    seen = done.read_text()
    return {"seen": seen, "failed": message(lambda: on_rank_zero(ranks, fail))}


def scenario_timeout(ranks, folder):
    """A second group with a limit of its own."""
    limited = DataParallel(ranks._group, timeout=timedelta(seconds=20))
    value = torch.ones(1)
    limited.all_reduce([value])
    return {"sum": value.item(), "ranks": (limited.rank, limited.world_size)}


TRAINERS = {
    "momentum": (STEPS, {}),
    "adam": (20, {"optimizer": adam, "checks": NoChecks()}),
    "fixed order": (10, {"plan": fixed_order_plan(), "checks": NoChecks()}),
    "microbatches": (20, {"microbatches": Fixed(1), "checks": NoChecks()}),
}
COMMON = [
    scenario_trainer,
    scenario_records,
    scenario_rows,
    scenario_sharded_state,
    scenario_sharded_parameters,
    scenario_start,
    scenario_ledger,
    scenario_noise,
    scenario_collectives,
    scenario_agreement,
    scenario_once,
    scenario_timeout,
]


def run_all(folder, rank, world_size):
    """Every scenario on groups of 2 and of all."""
    pair = dist.new_group([0, 1])
    outside = message(lambda: DataParallel(pair)) if rank > 1 else ""
    for size in (2, world_size):
        if rank >= size:
            continue
        ranks = DataParallel(pair if size == 2 else None, bucket_bytes=64)
        for scenario in COMMON:
            torch.save(scenario(ranks, folder), folder / f"{scenario.__name__}.{size}.{rank}.pt")
    torch.save(outside, folder / f"scenario_outside.2.{rank}.pt")


def add_up_for_ever(folder, rank, world_size, seconds):
    """All-reduces without end, each a little after the other; a file says that it is under way."""
    ranks = DataParallel(timeout=timedelta(seconds=seconds))
    count = torch.zeros(10_000)
    for step in range(100_000):
        ranks.all_reduce([count.fill_(1.0)])
        if step == 20 and rank == 0:
            (folder / "under-way").touch()
        time.sleep(0.002)


def train_with_checkpoints(folder, rank, world_size, steps, every, *, resumed):
    """The Trainer, saving on its way; a file tells how far it is."""
    trainer = make_trainer(DataParallel(timeout=timedelta(seconds=20)), optimizer=adam)
    if resumed:
        trainer.load(folder / "checkpoint.pt")

    def tell(step, record):
        if rank == 0:
            (folder / f"step.{step}").touch()
        time.sleep(0 if resumed else 0.01)

    trainer.fit(
        steps=steps - trainer.steps_done,
        checkpoint=folder / "checkpoint.pt",
        checkpoint_every=every,
        on_step=tell,
    )
    torch.save(flat(trainer.module), folder / f"end.{rank}.pt")


def main(folder, rank, world_size, scenario, *arguments, **options):
    """One rank: its output to a file, its part of the scenario, and no more."""
    with (folder / f"output.{rank}").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=(folder / "rendezvous").as_uri(),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=30),
    )
    try:
        globals()[scenario](folder, rank, world_size, *arguments, **options)
    finally:
        dist.destroy_process_group()
