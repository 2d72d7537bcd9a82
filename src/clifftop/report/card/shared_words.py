"""Sections whose words hold for every training with Clifftop: trust, hazards, unknowns, sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from clifftop.report.card.base import Row, Section

_UNKNOWN: Mapping[str, tuple[str, str]] = {
    "preprocessing": (
        "Preprocessing",
        (
            "whether rows were normalised, filtered, deduplicated or given a vocabulary by statistics "
            "of private rows; what such statistics cost comes on top"
        ),
    ),
    "whose_rows": (
        "Whose rows they are",
        ("whether one person is behind several rows, and how many at most"),
    ),
    "collection": (
        "Collection",
        (
            "how rows were collected, who saw them before training, and whether being in the data is "
            "itself a secret"
        ),
    ),
    "pretraining": (
        "Pretrained weights",
        (
            "whether the model started from weights that were trained on the same rows; if so their "
            "cost comes on top"
        ),
    ),
    "model_choice": (
        "Choice of the model",
        ("whether architecture, features or ranges of settings were chosen by looking at these rows"),
    ),
    "other_releases": (
        "Other releases from the same rows",
        ("models, statistics or tables released before or after; they add up (clifftop ledgers keep count)"),
    ),
}

_HAZARDS: Mapping[str, tuple[str, str]] = {
    "timing": (
        "Time and memory",
        ("not covered: batches differ in size, and the time of a step, memory and energy follow from it"),
    ),
    "floating_point": (
        "Floating point",
        (
            "not covered: noise is drawn in floating point and not on a grid, so that the last bits of "
            "a released number may tell more than the guarantee says; the bound on one row holds up to "
            "the rounding of float32"
        ),
    ),
    "diagnostics": (
        "Diagnostics and logs",
        (
            "not private: losses, gradient norms, clipped shares and other numbers of a step are exact "
            "values of the training rows; none of them may be released"
        ),
    ),
    "evaluation": (
        "Evaluation",
        (
            "scores on test rows are exact; if those rows are about people, releasing a score is an "
            "access of its own that is not covered here"
        ),
    ),
    "checkpoints": (
        "Checkpoints",
        (
            "models of earlier steps of the same training are covered. The files also hold the state to "
            "go on from, and where draws are secret what they are drawn from: release parameters, never "
            "files"
        ),
    ),
    "early_end": (
        "Diverged runs",
        (
            "a run whose parameters are no longer finite ends early; that follows from noised sums, but "
            "which runs ended early is a result of every run that it was seen in"
        ),
    ),
    "implementation": (
        "Mistakes in the code",
        (
            "clipping, noise and accounting are tested in Clifftop; code of the model, the loss and the "
            "data is the user's, and was looked at on a few rows only"
        ),
    ),
    "unequal": (
        "Unequal effect",
        (
            "clipping and noise cost rare groups more than others; epsilon says nothing of it, scores by "
            "group do"
        ),
    ),
    "hardware": (
        "Machines",
        ("who can read the memory or the disks of a machine that trains needs no model to learn rows"),
    ),
    "meaning": (
        "What it does not promise",
        (
            "that nothing can be learnt about people: what holds for the population is learnt on "
            "purpose, also about those who gave no row"
        ),
    ),
}


def setting_section(*, is_public: bool | None, extra: Iterable[Row] = ()) -> Section:
    """Who is trusted with what."""
    rows = [
        Row(
            name="model",
            label="Setting",
            text="central differential privacy: one curator holds all rows, trains, and adds the noise",
            value="central",
        ),
        Row(
            name="trusted",
            label="Trusted",
            text="the curator: people, machines, software, and whoever can read the folder of the results",
        ),
        Row(
            name="not_trusted",
            label="Not trusted",
            text="whoever receives the release, whatever else they know and however much they compute; "
            "nothing that they do with it afterwards weakens the guarantee",
        ),
    ]
    if is_public is not None:
        said = "declared public: nothing needs protection" if is_public else "not declared public"
        rows.append(Row(name="public", label="The data", text=said, value=is_public))
    return Section(name="setting", title="Setting", rows=(*rows, *extra))


def unknown_section() -> Section:
    """What no run can tell."""
    rows = [Row(name=name, label=label, text=text) for name, (label, text) in _UNKNOWN.items()]
    return Section(
        name="not_known",
        title="Not known to Clifftop",
        paragraphs=(
            "A run does not tell the following. Whoever releases the model must find out and say it.",
        ),
        rows=tuple(rows),
    )


def hazards_section() -> Section:
    """What may break the guarantee or is outside of it."""
    rows = [Row(name=name, label=label, text=text) for name, (label, text) in _HAZARDS.items()]
    return Section(name="hazards", title="Hazards, and what is not covered", rows=tuple(rows))


def sources_section() -> Section:
    """What the card follows."""
    rows = (
        Row(
            name="dp_fy_ml",
            label="What to report",
            text='Ponomareva et al. 2023, "How to DP-fy ML: A Practical Guide to Machine Learning with '
            'Differential Privacy", section 5.3, https://arxiv.org/abs/2303.00654',
        ),
        Row(
            name="nist_sp_800_226",
            label="What to evaluate",
            text='Near, Darais, Lefkovitz and Howarth 2025, "Guidelines for Evaluating Differential Privacy '
            'Guarantees", '
            "NIST SP 800-226, https://doi.org/10.6028/NIST.SP.800-226",
        ),
        Row(
            name="gaussian_dp",
            label="Trade-off curves and mu",
            text='Dong, Roth and Su 2022, "Gaussian differential privacy", '
            "https://doi.org/10.1111/rssb.12454",
        ),
    )
    return Section(name="sources", title="What this card follows", rows=rows)
