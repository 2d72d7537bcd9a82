"""Tables of the page and of the terminal."""

import io

import pytest
from rich.console import Console

from clifftop.report.tables import best_lr_table, cliff_table, configuration_table, epsilon_table
from clifftop.report.terminal import learning_rate_table, summary_table


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def printed(table, width=110):
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue()


def test_three_epsilons(published):
    table = epsilon_table(published)
    assert table.headers == ("σ", "as published", "fixed order", "Poisson sampling")
    assert table.headers[table.marked] == "fixed order"
    assert [row[1:3] for row in texts(table)] == [
        ["22,446.05", "101,907"],
        ["23.03", "1,189.78"],
        ["15.05", "77.33"],
        ["4.80", "28.3735"],
        ["1.33", "11.48"],
        ["1.06", "3.84861"],
        ["0.87", "1.76006"],
    ]


def test_columns_with_nothing_are_left_out(unpublished):
    table = epsilon_table(unpublished)
    assert table.headers == ("σ", "Poisson sampling")
    assert table.marked == 1
    assert "published" not in printed(summary_table(unpublished))
    for other in (configuration_table(unpublished), cliff_table(unpublished)):
        assert not any("published" in header for header in other.headers)
        assert {len(row) for row in other.rows} == {len(other.headers)}


def test_every_configuration_once(published, several):
    assert len(configuration_table(published).rows) == 21
    assert len(configuration_table(several).rows) == 105
    row = texts(configuration_table(published))[-1]
    assert row == [
        "10",
        "10",
        "0.1",
        "62.7 ± 6.6",
        "42.4 to 82.9",
        "3",
        "36.7",
        "15.5 to 57.8",
        "19%",
        "0.87",
        "1.76006",
        "",
    ]
    assert sum(row[-1] == "yes" for row in texts(configuration_table(published))) == len(published.frontier)


def test_cells_sort_by_number(published):
    values = [row[3].value for row in configuration_table(published).rows]
    assert min(values) == pytest.approx(0.6266667)


def test_cliffs(published, several):
    assert texts(cliff_table(published))[0] == [
        "all configurations",
        "0 of 21",
        "none",
        "1.76006",
        "none",
        "0.87",
    ]
    names = [row[0] for row in texts(cliff_table(several))]
    assert names[:3] == ["all configurations", "best learning rate of each cell", "C = 0.1"]
    assert names[-1] == "learning rate 10"


def test_best_learning_rates(several):
    table = best_lr_table(several)
    assert len(table.rows) == 21
    assert all(row[4].text != "–" for row in table.rows)


def test_terminal_table(published):
    text = printed(summary_table(published))
    for part in ("22,446.05", "101,907", "C = 0.1", "80.7 ± 7.1", "62.7 ± 6.6", "99.3 ± 0.5", "delta = 1e-5"):
        assert part in text
    assert "…" not in text


def test_terminal_table_of_one_learning_rate(several):
    assert "learning rate 0.1" in printed(summary_table(several))
    assert "learning rate 3" in printed(summary_table(several, lr=3.0))
    with pytest.raises(ValueError, match=r"lr must be one of the study's \(0.1, 0.3, 1, 3, 10\), found lr=7"):
        summary_table(several, lr=7.0)


def test_terminal_table_of_best_learning_rates(several):
    text = printed(learning_rate_table(several), width=80)
    assert "…" not in text
    best = several.best_lr[-1].configuration
    assert f"{100 * best.accuracy.mean:.1f} ± " in text


def test_one_seed_has_no_deviation(documents, parse):
    from clifftop.analysis.summary import summarise

    summary = summarise(parse(documents.synthetic_document(seeds=(1,), lrs=(0.1,))))
    assert "±" not in printed(summary_table(summary))
