"""Clifftop's own `Trainer` under the checks of a whole training, and faults of a user's own around it."""

import numpy as np
import torch
from torch import nn

from clifftop import Flat, Gaussian, NeighboringRelation, Poisson, PrivacyPlan
from clifftop.audit.trainings import Data, Reported, Trace, check_training
from clifftop.checks import NoChecks
from clifftop.training import Trainer

N, EXPECTED = 32, 8
SIZES = {Data.GIVEN: 0, Data.OTHER: 1, Data.NONE: 0}


class Never(Poisson):
    """Every batch happens to be empty."""

    def batch(self, step, *, num_examples, rng):
        return super().batch(step, num_examples=num_examples, rng=rng)[:0]


class OwnTraining:
    """What the optimiser is handed is read and replaced in a hook before its step."""

    def trainer(self, data, seed):
        g = torch.Generator().manual_seed(SIZES[data])
        inputs, targets = torch.randn(N, 4, generator=g), torch.randint(0, 3, (N,), generator=g)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = nn.Linear(4, 3)
        sampler = (Never if data is Data.NONE else Poisson)(sampling_prob=EXPECTED / N)
        return Trainer(
            module=module,
            criterion=nn.CrossEntropyLoss(reduction="none"),
            optimizer=torch.optim.Adam(module.parameters(), lr=0.05),
            plan=PrivacyPlan(
                sampler=sampler,
                clipping=Flat(clip_norm=0.5),
                noise=Gaussian(noise_multiplier=1.0),
                neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
                expected_batch_size=EXPECTED,
            ),
            inputs=(inputs,),
            targets=(targets,),
            checks=NoChecks(),
            seed=seed,
        )

    def resumed(self, trainer, data, seed):
        state = trainer.state_dict()
        trainer = self.trainer(data, seed)
        trainer.load_state_dict(state)
        return trainer

    def steps(self, steps, seed, data, stop_at, releases):
        trainer, rows = self.trainer(data, seed), []
        for number in range(steps):
            if number == stop_at:
                trainer = self.resumed(trainer, data, seed)
            made = []

            def swap(optimizer, args, kwargs, number=number, made=made):
                grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
                made.append(EXPECTED * torch.cat([grad.flatten() for grad in grads]).double().numpy())
                if releases is not None:
                    given = torch.from_numpy(releases[number] / EXPECTED).float()
                    for grad, part in zip(grads, given.split([g.numel() for g in grads]), strict=True):
                        grad.copy_(part.view_as(grad))

            hook = trainer.optimizer.register_step_pre_hook(swap)
            trainer.step(diagnose=False)
            hook.remove()
            flat = torch.cat([p.detach().flatten() for p in trainer.module.parameters()])
            rows.append((made[0], flat.double().numpy(), trainer.event().count))
        return trainer, rows

    def run(self, *, steps, seed, data=Data.GIVEN, stop_and_resume_at=None, releases=None):
        trainer, rows = self.steps(steps, seed, data, stop_and_resume_at, releases)
        # The noise of a step does not depend on its batch: where all are empty, it is all there is.
        _, silent = self.steps(steps, seed, Data.NONE, stop_and_resume_at, None)
        saved = {name: value.double().numpy() for name, value in trainer.module.state_dict().items()}
        return Trace(
            releases=np.stack([row[0] for row in rows]) if releases is None else releases,
            noise=np.stack([row[0] for row in silent]),
            parameters=np.stack([row[1] for row in rows]),
            charged=np.array([row[2] for row in rows]),
            public=saved,
        )

    def reported(self):
        trainer = self.trainer(Data.GIVEN, 1)
        trainer.steps_done = 50
        return Reported(epsilon=trainer.epsilon(delta=1e-5).upper, delta=1e-5, event=trainer.event())


class ResumedWithoutTheOptimizer(OwnTraining):
    def resumed(self, trainer, data, seed):
        state = trainer.state_dict()
        trainer = self.trainer(data, seed)
        fresh = trainer.optimizer.state_dict()
        trainer.load_state_dict({**state, "optimizer": fresh})
        return trainer


class ParametersAloneResumed(OwnTraining):
    def resumed(self, trainer, data, seed):
        parameters = trainer.module.state_dict()
        trainer = self.trainer(data, seed)
        trainer.module.load_state_dict(parameters)
        return trainer


def test_clifftops_own_training_passes():
    report = check_training(OwnTraining())
    assert report.ok, str(report)
    assert [check.name for check in report.checks] == [
        "post-processing", "charges", "noise-anew", "restart", "reported-epsilon",
    ]  # fmt: skip


def test_a_resume_of_ones_own_that_forgets_is_found():
    assert {check.name for check in check_training(ResumedWithoutTheOptimizer()).findings} == {"restart"}
    forgot_all = check_training(ParametersAloneResumed())
    assert {check.name for check in forgot_all.findings} >= {"charges", "noise-anew", "restart"}
