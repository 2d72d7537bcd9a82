"""Tables are whole in a file or a pipe, however wide."""

from rich.table import Table

from clifftop.cli.output import print_table


def test_a_wide_table_is_not_cut(capsys):
    table = Table()
    for column in range(40):
        table.add_column(f"column {column}", no_wrap=True)
    table.add_row(*(f"value {column}" for column in range(40)))
    print_table(table)
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(f"value {column} " in shown for column in range(40))
