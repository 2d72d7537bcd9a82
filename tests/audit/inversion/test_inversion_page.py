"""The page on inversion says what the record of its benchmark says."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FIGURES = json.loads((ROOT / "benchmarks/records/audit_inversion.json").read_text())["figures"]
PAGE = (ROOT / "docs/inversion.md").read_text()
TEXT = " ".join(PAGE.split())
ATTACKS = ("closed form", "rank one", "iDLG", "cosine and total variation")
SIGMAS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)


def rows(sigma, clip_norm=1.0):
    found = [row for row in FIGURES["rows"] if (row["sigma"], row["clip_norm"]) == (sigma, clip_norm)]
    return {row["attack"]: row for row in found}


def share(row, what="identified"):
    return f"{100 * row[what] / row['trials']:.1f}%"


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_table_is_the_record(sigma):
    here = rows(sigma)
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {sigma:g} |")]
    any_row = here["closed form"]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        f"{sigma:g}",
        "infinite" if any_row["epsilon"] is None else f"{any_row['epsilon']:.4g}",
        *(
            f"{share(here[attack])}, {round(here[attack]['residual_cosine'], 2) + 0.0:.2f}"
            for attack in ATTACKS
        ),
        share(any_row, "matched"),
        f"{100 * any_row['permitted']:.1f}%",
    ]


def test_the_picture_is_exact_without_noise_and_gone_at_the_sigma_that_is_stated():
    assert all(rows(0.0)[attack]["residual_cosine"] > 0.999 for attack in ATTACKS)
    assert all(rows(1.0)[attack]["fails"] for attack in ATTACKS)
    assert not any(rows(0.03)[attack]["fails"] for attack in ATTACKS)
    assert FIGURES["verdicts"] == ["not refuted", "not refuted"]


def test_no_rate_is_above_what_is_permitted():
    for row in FIGURES["rows"]:
        assert row["identified_interval"][0] <= row["permitted"]
        assert row["matched_interval"][0] <= row["permitted"]


def test_the_sentences_are_the_record():
    clean, small = FIGURES["without_noise"], FIGURES["small_noise"]["0.001"]
    batches = FIGURES["batches_without_noise_worst_psnr"]
    for said in (
        f"mean squared error of {clean['mlp, closed form']['largest_mse']:g} at most",
        f"at least {clean['mlp, iDLG']['worst_psnr']:.0f} dB",
        f"{clean['convolution, iDLG']['worst_psnr']:.0f} dB for the convolution net",
        f"{clean['mlp, cosine and total variation']['worst_psnr']:.0f} dB",
        f"at least {min(batches.values()):.0f} dB",
        f"the least of any unbiased estimator is {1e5 * small['least_of_unbiased']:.2f}e-5",
        f"iDLG has {1e5 * small['iDLG']:.2f}e-5",
        f"the closed form {1e5 * small['closed form']:.2f}e-5",
    ):
        assert said in TEXT, said
