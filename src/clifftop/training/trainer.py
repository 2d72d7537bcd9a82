"""The front door for one run: any module, any torch optimiser, a privacy plan, and an epsilon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final, overload

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset, default_collate

from clifftop import __version__, accounting
from clifftop.accounting import Bound, Ledger, Target
from clifftop.checks import Checks, FirstExamples, recheck
from clifftop.events import DpEvent, NoOp
from clifftop.gradients import Criterion, GradientEngine
from clifftop.gradients.graph import GraphEngine
from clifftop.noise import RunStreams, Secure, StreamKind
from clifftop.parallel import Alone, Ranks, agree_on_facts, agree_on_parameters, agree_on_seed
from clifftop.plan import PrivacyPlan
from clifftop.private_gradient import PrivacyState, StepRecord, Summing, initial_state
from clifftop.training import snapshot
from clifftop.training.charging import Charges
from clifftop.training.checkpoint import CheckpointError, read, write
from clifftop.training.data import Collate, rows_of
from clifftop.training.deferred import DeferredNoise, require_deferrable
from clifftop.training.duration import Every, steps_in_epochs, steps_to_go
from clifftop.training.evaluating import evaluating
from clifftop.training.health import require_finite
from clifftop.training.microbatches import Automatic, Microbatches
from clifftop.training.optimizers import only_device, require_fitting
from clifftop.training.progress import Clock, Progress
from clifftop.training.stepping import Stepper
from clifftop.training.together import agree_on_replicas, require_shareable, write_once

OnStep = Callable[[int, StepRecord], None]
Evaluate = Callable[[int, nn.Module], None]

_LOOK_EVERY = 100
"""Steps between two looks at whether the parameters are still finite."""


@final
@dataclass(kw_only=True)
class Trainer:
    """Trains one module privately, in place.

    The training data are either ``inputs`` and ``targets`` or a ``dataset``. Before the first step the
    model is checked; each step then draws a batch, takes its private gradient, writes it to ``p.grad`` and
    calls the optimiser and the scheduler.

    Attributes:
        module: any ``nn.Module`` that treats its examples independently; called ``module(*inputs)``.
        criterion: ``criterion(output, *targets)`` gives one loss an example, ``(B,)``.
        optimizer: a torch optimiser over the module's trainable parameters.
        plan: sampler, clipping, noise, neighbouring relation.
        inputs: the training data, each tensor ``(N, ...)``.
        targets: its targets, each ``(N, ...)``.
        dataset: a map-style torch ``Dataset``, instead.
        collate: makes ``(inputs, targets)`` of a list of the data set's rows.
        scheduler: a torch learning-rate scheduler of ``optimizer``, stepped after each step.
        ledger: the data set's privacy ledger; steps are charged to it before they are taken.
        charge_steps: how many steps of ``fit`` one charge covers.
        seed: keys every random draw; by default 128 bits from the operating system. Whoever knows the
            seed can subtract the noise: one that is written down, or guessed, makes a run repeatable and
            its epsilon void for that reader. `state_dict` holds it, since a resumed run needs it.
        engine: gives the per-example gradients.
        summing: another way to the clipped sum: `clifftop.capture.CapturedSumming`, or None.
        streams: which random streams the run draws from.
        microbatches: how many examples go through the engine at once; never changes the result.
        autocast: ``torch.bfloat16`` runs module and criterion in it; parameters, norms, sums and noise
            stay in float32.
        checks: what is looked at before the first step, unless there are ``deferred`` tables.
        ranks: the processes that train together; every rank constructs the same trainer.
        deferred: tables that are trained by rows, and whose noise is settled later.
        steps_done: steps taken, those of a resumed run included.

    Raises:
        ValueError: the parts do not fit together; the message says which.

    >>> from clifftop import Flat, Gaussian, NeighboringRelation, Poisson
    >>> plan = PrivacyPlan(
    ...     sampler=Poisson(sampling_prob=0.25),
    ...     clipping=Flat(clip_norm=1.0),
    ...     noise=Gaussian(noise_multiplier=2.0),
    ...     neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
    ...     expected_batch_size=8,
    ... )
    >>> model = nn.Linear(3, 2)
    >>> trainer = Trainer(
    ...     module=model,
    ...     criterion=nn.CrossEntropyLoss(reduction="none"),
    ...     optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
    ...     plan=plan,
    ...     inputs=(torch.eye(3).repeat(11, 1),),
    ...     targets=(torch.zeros(33, dtype=torch.long),),
    ... )
    >>> trainer.fit(steps=10)
    >>> 0 < trainer.epsilon(delta=1e-5).upper < 4
    True
    """

    module: nn.Module
    criterion: Criterion
    optimizer: torch.optim.Optimizer
    plan: PrivacyPlan
    inputs: Sequence[Tensor] = ()
    targets: Sequence[Tensor] = ()
    dataset: Dataset[Any] | None = None
    collate: Collate = default_collate
    scheduler: LRScheduler | None = None
    ledger: Ledger | None = None
    charge_steps: int = 100
    seed: int | None = None
    engine: GradientEngine = field(default_factory=GraphEngine)
    summing: Summing | None = None
    streams: StreamKind = field(default_factory=Secure)
    microbatches: Microbatches = field(default_factory=Automatic)
    autocast: torch.dtype | None = None
    checks: Checks = field(default_factory=FirstExamples)
    ranks: Ranks = field(default_factory=Alone)
    deferred: DeferredNoise | None = None
    steps_done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._rows = rows_of(self.inputs, self.targets, self.dataset, self.collate)
        self._parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        device = only_device(self._parameters)
        require_fitting(self._parameters, self.optimizer, self.scheduler)
        require_deferrable(self.deferred, self.plan, self.ranks)
        require_shareable(self.plan, self.ranks)
        self.plan.event(steps=1, num_examples=self.num_examples)  # refuses what cannot be claimed
        self._state: PrivacyState = initial_state([self.plan], next(iter(self._parameters.values())))
        agree_on_facts(self.ranks, self._claims())
        agree_on_parameters(self.ranks, self._parameters)
        self.seed = agree_on_seed(self.ranks, self.seed)
        self._open_streams: RunStreams = self.streams.open([self.seed])
        self._charges = Charges(
            self.ledger,
            self.plan,
            num_examples=self.num_examples,
            ranks=self.ranks,
            block=self.charge_steps,
        )
        self._stepper = Stepper(
            module=self.module,
            criterion=self.criterion,
            parameters=self._parameters,
            plan=self.plan,
            rows=self._rows,
            engine=self.engine,
            summing=self.summing,
            microbatches=self.microbatches,
            autocast=self.autocast,
            ranks=self.ranks,
            deferred=self.deferred,
            device=device,
        )
        self._checked = False

    @property
    def num_examples(self) -> int:
        """N, how many examples there are."""
        return self._rows.num_examples

    @property
    def microbatch_size(self) -> int | None:
        """Examples that go through the engine at once; None for whole batches, and before the first step."""
        return self._stepper.size

    def steps_in(self, *, epochs: float) -> int:
        """The least number of steps that make ``epochs`` passes over the data, in expectation."""
        return steps_in_epochs(self.plan, epochs=epochs, num_examples=self.num_examples)

    @overload
    def step(self) -> StepRecord: ...

    @overload
    def step(self, *, diagnose: bool) -> StepRecord | None: ...

    def step(self, *, diagnose: bool = True) -> StepRecord | None:
        """One private step: gradient into ``p.grad``, then ``optimizer.step()`` and the scheduler's.

        Args:
            diagnose: whether to return what the step looked like, at about a fifth of its cost.

        Raises:
            BudgetExceeded: the ledger does not allow the step; nothing was drawn or released.
        """
        return self._advance(diagnose=diagnose, horizon=self.steps_done + 1)

    def fit(
        self,
        *,
        steps: int | None = None,
        epochs: float | None = None,
        until: Target | None = None,
        on_step: OnStep | None = None,
        evaluate: Evaluate | None = None,
        evaluate_every: int | None = None,
        checkpoint: Path | str | None = None,
        checkpoint_every: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Take more steps.

        Args:
            steps: how many more.
            epochs: the same, in passes over the data.
            until: ends before the first step with which all steps of this trainer would pass this target.
            on_step: called as ``on_step(steps_done, record)`` after each step; without it no step is
                diagnosed, which saves time.
            evaluate: called as ``evaluate(steps_done, module)``, in eval mode and without gradient, at the
                end and every ``evaluate_every`` steps. What it reads is its own affair: the training data,
                and test data about people, are released by looking at them.
            evaluate_every: counted from the run's first step.
            checkpoint: a file that is written at the end and every ``checkpoint_every`` steps.
            checkpoint_every: counted from the run's first step.
            progress: called after each step.

        Raises:
            NonFiniteParameters: training diverged; no checkpoint was overwritten.
            NotPrivate: parameters were frozen, unfrozen or replaced since this trainer was made.
        """
        total = steps_to_go(
            self.plan,
            num_examples=self.num_examples,
            steps_done=self.steps_done,
            steps=steps,
            epochs=epochs,
            until=until,
        )
        evaluation = Every(evaluate_every, "evaluate_every")
        saving = Every(checkpoint_every, "checkpoint_every")
        recheck(self.module, self.optimizer, protected=self._parameters)
        agree_on_replicas(self.ranks, self.module, self.seed)
        horizon, clock = self.steps_done + total, Clock(progress, total)
        self.ranks.agree("number of steps", repr((self.steps_done, total)).encode())
        for done in range(1, total + 1):
            record = self._advance(diagnose=on_step is not None, horizon=horizon)
            if on_step is not None and record is not None:
                on_step(self.steps_done, record)
            last = done == total
            if last or self.steps_done % _LOOK_EVERY == 0:
                self._stepper.watch.look()
                require_finite(self._parameters, steps_done=self.steps_done)
            if evaluate is not None and (last or evaluation.due(self.steps_done)):
                self._evaluate(evaluate)
            if checkpoint is not None and (last or saving.due(self.steps_done)):
                self.save(checkpoint)
            clock.tick(done)
        self._settle()

    def event(self) -> DpEvent:
        """What has been released so far."""
        if self.steps_done == 0:
            return NoOp()
        return self.plan.event(steps=self.steps_done, num_examples=self.num_examples)

    def epsilon(self, *, delta: float) -> Bound:
        """The privacy spent so far, as an interval; report its upper end."""
        self._settle()
        return accounting.epsilon(
            self.event(), delta=delta, neighboring_relation=self.plan.neighboring_relation
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly where this run stopped: tensors and plain values.

        It holds the seed. The module's part is its own ``state_dict``, under its own names.
        """
        self._settle()
        return self._settled_state()

    def _settled_state(self) -> dict[str, Any]:
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "steps_done": self.steps_done,
            "seed": self.seed,
            "streams": self._open_streams.state(),
            "clipping": snapshot.state_of(self._state.clipping),
            "noise": snapshot.state_of(self._state.noise),
            "deferred": None if self.deferred is None else self.deferred.state_dict(),
            "run": self._charges.run,
            "measurements": snapshot.measurements_of(self.engine),
            "microbatches": {
                "chosen_by": snapshot.described(self.microbatches),
                "sized": self._stepper.sized,
                "size": self._stepper.size,
            },
            "claims": self._claims(),
            "clifftop": __version__,
            "torch": str(torch.__version__),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()`` of a trainer that was constructed alike; its seed is taken over.

        Raises:
            ValueError: this trainer has taken steps of its own, whose cost would be forgotten; or its plan,
                data, parameters, optimiser or streams are others. Nothing was changed.
        """
        if self.steps_done:
            raise ValueError(
                f"a run resumes in a trainer that has taken no step, found steps_done={self.steps_done}; "
                "construct a new Trainer"
            )
        snapshot.require_alike(state["claims"], self._claims())
        self.seed = int(state["seed"])
        self._open_streams = self.streams.open([self.seed])
        self._open_streams.load_state(state["streams"])
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        if self.deferred is not None:
            self.deferred.load_state_dict(state["deferred"])
        self._state = PrivacyState(
            clipping=snapshot.state_like(self._state.clipping, state["clipping"]),
            noise=snapshot.state_like(self._state.noise, state["noise"]),
        )
        self.steps_done = state["steps_done"]
        self._charges.take_up(state["run"])
        snapshot.take_measurements(self.engine, state["measurements"])
        chosen = state["microbatches"]
        if chosen["chosen_by"] == snapshot.described(self.microbatches):
            # Another size would add floats in another order.
            self._stepper.sized, self._stepper.size = chosen["sized"], chosen["size"]

    def save(self, path: Path | str) -> None:
        """Write `state_dict` to a file, whole or not at all; every rank calls it, and rank 0 writes.

        Raises:
            NonFiniteParameters: a parameter is NaN or infinite; the file that was there is untouched.
            CheckpointError: it could not be written; the file that was there is untouched.
            ValueError: the ranks' parameters have come apart.
        """
        agree_on_replicas(self.ranks, self.module, self.seed)
        require_finite(self._parameters, steps_done=self.steps_done)
        self._settle()
        write_once(self.ranks, self.optimizer, lambda: write(Path(path), self._settled_state()))

    def load(self, path: Path | str) -> None:
        """Go on from what `save` wrote; every rank loads. Code in the file, if there were any, would not run.

        Raises:
            CheckpointError: no such file, another kind of file, a damaged one, or one of another run; the
                trainer is as it was.
        """
        state = read(Path(path))
        try:
            self.load_state_dict(state)
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error

    def _claims(self) -> dict[str, Any]:
        return snapshot.claims_of(
            plan=self.plan,
            num_examples=self.num_examples,
            streams=self.streams,
            trained=self._parameters,
            module=self.module,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            tables=() if self.deferred is None else self.deferred.names,
        )

    def _advance(self, *, diagnose: bool, horizon: int) -> StepRecord | None:
        if not self._checked:
            self._stepper.check(self.checks, self.optimizer)
            self._checked = True
        step = self.steps_done
        self._charges.before(step + 1, horizon=horizon)
        indices, batch = self._stepper.draw(step, self._open_streams)
        noisy, self._state, record = self._stepper.gradient(
            step, indices, batch, state=self._state, streams=self._open_streams, diagnose=diagnose
        )
        # Counted before the release: an interrupted step may cost privacy that it never used, not less.
        self.steps_done += 1
        self._stepper.release(noisy)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return record

    def _settle(self) -> None:
        if self.deferred is not None:
            self.deferred.flush()

    def _evaluate(self, evaluate: Evaluate) -> None:
        self._settle()
        with evaluating(self.module):
            evaluate(self.steps_done, self.module)
