"""`clifftop plan`: batch size, steps and noise for an epsilon and a compute budget, without torch or data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from clifftop.cli.caution import warn_of_delta
from clifftop.cli.options import Delta, Json, whole_number
from clifftop.cli.output import print_json, print_line, print_table
from clifftop.cli.values import parse_integers
from clifftop.events import NeighboringRelation

if TYPE_CHECKING:
    from clifftop.planning import Candidate, Compute, TrainingPlan

_COMPUTE = "How much training there may be"

NOTHING_SPENT = (
    "privacy spent: none, no data were read. The number of examples must be a public one: data sets that "
    "differ by one example differ in it."
)
HEURISTIC = (
    "Every epsilon is certified. Which row to take, the clip norm and the learning rates are heuristics: "
    "search around them, on public data if there are any."
)


def plan(
    *,
    n: Annotated[
        int,
        Parameter(
            name=["--n", "--num-examples"],
            converter=whole_number,
            allow_leading_hyphen=True,
            help="examples in the data set; must be a public number.",
        ),
    ],
    epsilon: Annotated[
        float, Parameter(help="what one training may cost; never more is spent.", allow_leading_hyphen=True)
    ],
    delta: Delta,
    compute: Annotated[
        float | None,
        Parameter(group=_COMPUTE, allow_leading_hyphen=True, help="floating-point operations (FLOP)."),
    ] = None,
    example_gradients: Annotated[
        int | None,
        Parameter(
            group=_COMPUTE,
            converter=whole_number,
            allow_leading_hyphen=True,
            help="in place of it: steps times batch size.",
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        Parameter(group=_COMPUTE, allow_leading_hyphen=True, help="in place of it: passes over the data."),
    ] = None,
    epochs_max: Annotated[
        float | None,
        Parameter(
            group=_COMPUTE,
            allow_leading_hyphen=True,
            help="never plan more passes over the data than this; 200 by default.",
        ),
    ] = None,
    flops_per_example: Annotated[
        float | None,
        Parameter(
            name=["--flops-per-example", "--flop-per-example"],
            group=_COMPUTE,
            allow_leading_hyphen=True,
            help="FLOP of one example's gradient; by default 6 a parameter.",
        ),
    ] = None,
    parameters: Annotated[
        int | None,
        Parameter(
            converter=whole_number,
            allow_leading_hyphen=True,
            help="trainable parameters of the model; by default those of a small network are assumed.",
        ),
    ] = None,
    batch_sizes: Annotated[
        str | None,
        Parameter(
            help="a list of batch sizes to compare, in place of powers of two.", allow_leading_hyphen=True
        ),
    ] = None,
    neighboring_relation: Annotated[
        NeighboringRelation, Parameter(help="which data sets are compared.")
    ] = NeighboringRelation.ADD_OR_REMOVE_ONE,
    write: Annotated[
        Path | None, Parameter(help="write a sweep around the proposal to this new TOML file.")
    ] = None,
    model: Annotated[
        str | None, Parameter(help="with --write: the model's factory, module:callable.")
    ] = None,
    data: Annotated[str | None, Parameter(help="with --write: the data's factory, module:callable.")] = None,
    as_json: Json = False,
) -> int:
    """Propose batch size, steps and noise for an epsilon and a compute budget, before any run.

    Poisson batches. It compares batch sizes at the same compute; no data are read and no privacy is spent.

    - `clifftop plan --n 60000 --epsilon 3 --delta 1e-5 --compute 1e15 --parameters 26000`
    - `clifftop plan --n 60000 --epsilon 3 --delta 1e-5 --epochs 40 --write sweep.toml`
    """
    from clifftop.planning import Question, plan_training

    _check_file(write, {"--model": model, "--data": data})
    question = Question(
        num_examples=n,
        epsilon=epsilon,
        delta=delta,
        compute=_compute(
            n,
            given={"--compute": compute, "--example-gradients": example_gradients, "--epochs": epochs},
            epochs_max=epochs_max,
            flops_per_example=flops_per_example,
            parameters=parameters,
        ),
        neighboring_relation=neighboring_relation,
        parameters=parameters,
    )
    sizes = None if batch_sizes is None else parse_integers("--batch-sizes", batch_sizes)
    found = plan_training(question, batch_sizes=sizes)
    warn_of_delta(delta, n)
    if write is not None:
        _write(write, found, model=model, data=data)
    if as_json:
        print_json(_document(found, write))
    else:
        _tell(found, write)
    return 0


def _compute(
    num_examples: int,
    *,
    given: dict[str, float | int | None],
    epochs_max: float | None,
    flops_per_example: float | None,
    parameters: int | None,
) -> Compute:
    from clifftop.planning import Compute
    from clifftop.planning.compute import MOST_EPOCHS

    said = {flag: value for flag, value in given.items() if value is not None}
    if len(said) != 1:
        found = ", ".join(f"{flag}={value:g}" for flag, value in said.items()) or "none of them"
        raise ValueError(
            f"a plan needs one of --compute, --example-gradients and --epochs, found {found}; "
            "say how much training there may be"
        )
    if flops_per_example is not None and "--compute" not in said:
        raise ValueError(
            f"--flops-per-example goes with --compute, found --flops-per-example={flops_per_example:g} "
            f"with {next(iter(said))}; leave it out"
        )
    ((flag, value),) = said.items()
    if flag == "--compute":
        whole = Compute.of_flop(value, flop_per_example=flops_per_example, parameters=parameters)
    elif flag == "--epochs":
        whole = Compute.of_epochs(value, num_examples=num_examples)
        return whole if epochs_max is None else whole.at_most(epochs_max, num_examples=num_examples)
    else:
        whole = Compute.of_example_gradients(int(value))
    return whole.at_most(MOST_EPOCHS if epochs_max is None else epochs_max, num_examples=num_examples)


def _check_file(write: Path | None, factories: dict[str, str | None]) -> None:
    """Errors: ValueError, before any work is done, for a file that cannot be written as asked."""
    from clifftop.lab.spec import Factory

    for flag, target in factories.items():
        if target is not None and write is None:
            raise ValueError(f"{flag} goes with --write, found {flag}={target} alone; add --write sweep.toml")
        if target is not None:
            Factory(target=target)
    if write is None:
        return
    if write.suffix.lower() != ".toml" or not write.parent.is_dir():
        raise ValueError(
            f"--write must be a .toml file in a folder that is there, found {str(write)!r}; "
            "name one such as sweep.toml"
        )
    if write.exists():
        raise ValueError(
            f"--write must name a new file, found {str(write)!r}, which exists; name another or remove it"
        )


def _write(path: Path, found: TrainingPlan, *, model: str | None, data: str | None) -> None:
    from clifftop.files import write_all
    from clifftop.planning.sweep_file import DATA, MODEL, sweep_toml

    text = sweep_toml(found, name=path.stem, model=model or MODEL, data=data or DATA)
    write_all(path.parent, {path.name: text.encode()})


def _row(row: Candidate, parameters: int) -> dict[str, Any]:
    return {
        "batch_size": row.batch_size,
        "steps": row.steps,
        "epochs": row.epochs,
        "sampling_prob": row.sampling_prob,
        "noise_multiplier": row.noise_multiplier,
        "epsilon": row.epsilon,
        "noise_per_update": row.noise_per_update,
        "total_noise": row.total_noise,
        "eta": row.eta,
        "snr_per_step": row.snr_per_step(parameters),
        "snr_total": row.snr_total(parameters),
    }


def _document(found: TrainingPlan, write: Path | None) -> dict[str, Any]:
    from clifftop.codec import encode

    question, proposal = found.question, found.proposal
    parameters = question.parameters or 1
    return {
        "num_examples": question.num_examples,
        "target_epsilon": question.epsilon,
        "delta": question.delta,
        "neighboring_relation": question.neighboring_relation.value,
        "example_gradients": question.compute.example_gradients,
        "compute": question.compute.source,
        "assumed": list(question.compute.assumed),
        "privacy_spent": 0,
        "certified": ["epsilon"],
        "heuristic": ["proposal"],
        "table": [_row(row, parameters) for row in found.table],
        "proposal": _row(proposal.candidate, parameters)
        | {"reason": proposal.reason, "clip_norm": proposal.clip_norm, "lr": proposal.lr, "lrs": proposal.lrs}
        | {"half_compute": proposal.half_compute, "double_compute": proposal.double_compute},
        "next": _next(write),
        "plan": encode(found),
        "written": None if write is None else str(write),
    }


def _next(write: Path | None) -> str:
    if write is None:
        return "the same command with --write sweep.toml, then: clifftop sweep sweep.toml"
    return f"clifftop sweep {write}"


def _tell(found: TrainingPlan, write: Path | None) -> None:
    from clifftop.report.wording import epsilon_up

    question, proposal = found.question, found.proposal
    chosen = proposal.candidate
    print_line(
        f"{question.compute.example_gradients} example gradients ({question.compute.source}), "
        f"epsilon {question.epsilon:g} at delta {question.delta:g}, {question.neighboring_relation.value}"
    )
    for assumed in question.compute.assumed:
        print_line(f"assumed: {assumed}")
    _print_table(found)
    print_line(
        f"proposal: batch {chosen.batch_size}, {chosen.steps} steps, noise multiplier "
        f"{epsilon_up(chosen.noise_multiplier, digits=4)}; {proposal.reason}"
    )
    print_line(_marginal(found))
    print_line(
        f"first guesses for SGD: clip norm {proposal.clip_norm:g}, learning rate {proposal.lr:g}; "
        f"search {', '.join(f'{lr:g}' for lr in proposal.lrs)}"
    )
    print_line(HEURISTIC)
    print_line(NOTHING_SPENT)
    if write is not None:
        print_line(f"written: {write}; put your model and data in it where they are not yet named")
    print_line(f"next: {_next(write)}")


def _marginal(found: TrainingPlan) -> str:
    proposal = found.proposal
    half = proposal.half_compute
    less = (
        "half the compute would pay for no step"
        if half is None
        else f"half of it would raise it by {half:.1%}"
    )
    more = proposal.double_compute
    return f"compute: twice as much would lower the total noise of this batch by {more or 0:.1%}, {less}"


def _print_table(found: TrainingPlan) -> None:
    from rich import box
    from rich.table import Table

    from clifftop.report.wording import epsilon_up, plain

    parameters = found.question.parameters
    per = "" if parameters is None else f" / sqrt({parameters})"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    titles = ("", "batch", "steps", "noise multiplier", "epsilon, at most", "noise per update", "total noise")
    for title in (*titles, f"SNR a step{per}", f"SNR in total{per}"):
        table.add_column(title, justify="right")
    for row in found.table:
        table.add_row(
            ">" if row == found.proposal.candidate else "",
            str(row.batch_size),
            str(row.steps),
            epsilon_up(row.noise_multiplier, digits=4),
            epsilon_up(row.epsilon.upper, digits=4),
            *(plain(float(f"{value:.3g}")) for value in (row.noise_per_update, row.total_noise)),
            *(
                f"{value:.3g}"
                for value in (row.snr_per_step(parameters or 1), row.snr_total(parameters or 1))
            ),
        )
    print_table(table)
