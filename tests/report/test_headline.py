"""The findings: made from the numbers, and no stronger than they are."""

import pytest

from clifftop.analysis.summary import summarise
from clifftop.report.headline import headlines, understatement


def titles(summary):
    return [headline.title for headline in headlines(summary)]


def text_of(summary, start):
    return next(headline.text for headline in headlines(summary) if headline.title.startswith(start))


def made(documents, parse, change, **options):
    document = documents.synthetic_document(**options) if options else documents.published_document()
    for run in document["dp_runs"]:
        change(run)
    return summarise(parse(document))


def test_the_published_study(published):
    assert titles(published) == [
        "No collapse",
        "Utility holds from epsilon 1.761",
        "The published epsilons understate the loss",
        "One learning rate cannot tell clipping from slow training",
        "3 seeds",
    ]


def test_no_collapse_is_hedged_while_its_interval_reaches_the_line(published, documents, parse):
    assert "62.7% (95% interval 42.4 to 82.9)" in text_of(published, "No collapse")
    assert "more seeds may yet show a collapse" in text_of(published, "No collapse")
    summary = made(documents, parse, lambda run: run.update(accuracy=0.9))
    assert "may yet" not in text_of(summary, "No collapse")


def test_a_cliff(documents, parse):
    def change(run):
        run["accuracy"] = 0.2 if run["noise_multiplier"] > 2 else 0.99

    summary = made(documents, parse, change)
    assert titles(summary)[0] == "A cliff near epsilon 7.665"
    text = text_of(summary, "A cliff")
    assert text.startswith("6 of 21 configurations fall below 50%")
    assert "epsilon alone" not in text


def test_a_cliff_that_epsilon_does_not_decide(documents, parse):
    def change(run):
        run["accuracy"] = 0.2 if run["clip_norm"] == 10 else 0.99

    assert "epsilon alone does not decide" in text_of(made(documents, parse, change), "A cliff")


def test_everything_collapses(documents, parse):
    summary = made(documents, parse, lambda run: run.update(accuracy=0.1))
    assert titles(summary)[:2] == ["Everything collapses", "Utility holds nowhere"]


def test_understatement(published):
    text = text_of(published, "The published epsilons")
    assert "2.0 to 51.7 times" in text
    assert "23.03 was published and 1,189.78 is true" in text
    ratios = [ratio for ratio, _ in understatement(published)]
    assert ratios == sorted(ratios)
    assert len(ratios) == 7


def test_epsilons_that_are_partly_too_large_are_not_called_understated(documents, parse):
    document = documents.synthetic_document(seeds=(1, 2), lrs=(1.0,), sampling="poisson")
    for run in document["dp_runs"]:
        run["epsilon_published"] = 1.0
    summary = summarise(parse(document))
    assert "The published epsilons are not true" in titles(summary)


def test_no_claim_no_headline(unpublished):
    assert not any("published" in title for title in titles(unpublished))


def test_the_learning_rate_explains_the_cost_of_clipping(several):
    title = "What looked like the cost of clipping is the learning rate"
    assert title in titles(several)
    text = text_of(several, title)
    assert "C\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.1 loses" in text
    assert "most of it" in text


@pytest.mark.parametrize("seeds", [1, 3])
def test_with_few_seeds_it_only_may(documents, parse, seeds):
    """Accuracies that rise by chance in one seed: the interval includes zero, and nothing is claimed."""
    document = documents.synthetic_document(seeds=range(seeds), lrs=(0.1, 1.0))
    for run in document["dp_runs"]:
        run["accuracy"] = 0.8 + 0.15 * (run["lr"] == 1.0) * (run["seed"] == 0)
    summary = summarise(parse(document))
    assert "The learning rate may explain the cost of clipping" in titles(summary)
    assert "run more to decide" in text_of(summary, "The learning rate may")


def test_a_part_is_called_a_part(documents, parse):
    def change(run):
        run["accuracy"] = 0.6 + 0.1 * (run["lr"] == 1.0) + 0.001 * run["seed"]

    summary = made(documents, parse, change, seeds=range(8), lrs=(0.1, 1.0))
    assert "The learning rate explains part of the cost of clipping" in titles(summary)


def test_no_cost_is_no_story(documents, parse):
    def change(run):
        run["accuracy"] = 1.0

    assert "Clipping alone costs less than a point" in titles(made(documents, parse, change, seeds=(1, 2)))
    assert not any("clipping" in title for title in titles(made(documents, parse, change)))


def test_the_best_clip_norm_moves_only_where_leads_are_clear(several, documents, parse):
    assert "The best clip norm moves with the learning rate" in titles(several)

    def noisy(run):
        best = {0.1: 1.0, 1.0: 0.1}[run["lr"]]
        run["accuracy"] = 0.8 + 0.01 * (run["clip_norm"] == best) * (run["seed"] % 2) * 10

    summary = made(documents, parse, noisy, seeds=range(3), lrs=(0.1, 1.0))
    assert "The best clip norm may move with the learning rate" in titles(summary)
    assert "at none of them" in text_of(summary, "The best clip norm may")


def test_ties_are_no_lead(documents, parse):
    summary = made(documents, parse, lambda run: run.update(accuracy=0.9), seeds=(1, 2), lrs=(0.1, 1.0))
    assert not any("best clip norm" in title for title in titles(summary))


def test_divergence_is_told(several, published):
    assert text_of(several, "30 diverged").startswith("30 runs without privacy diverged.")
    assert not any("diverged" in title for title in titles(published))


def test_one_seed(documents, parse):
    summary = summarise(parse(documents.synthetic_document(seeds=(1,), lrs=(0.1,))))
    assert titles(summary)[-1] == "One seed"
