"""Conditions: what each means, that nothing else is run, and that errors name the way on."""

import math
import random

import polars as pl
import pytest

from clifftop.lab.reading.where import ConditionError, condition, known_column

TABLE = pl.DataFrame(
    {
        "row": [1, 2, 3, 4],
        "lr": [0.1, 1.0, None, math.nan],
        "status": ["done", "failed", "done", None],
        "shared": [True, False, None, True],
        "model.width": [8, 16, 32, 64],
        "inf": [1, 2, 3, 4],
        "clip_norm": [math.inf, 1.0, 1.0, 1.0],
    }
)


def chosen(text):
    return TABLE.filter(condition(text, TABLE.schema))["row"].to_list()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("lr > 0.1", [2]),
        ("lr >= 0.1", [1, 2]),  # NaN is not larger than a number
        ("lr != 0.1", [2]),
        ("not lr > 0.1", [1]),  # what is not known satisfies neither a condition nor its negation
        ("lr is null", [3]),
        ("lr is not null", [1, 2, 4]),
        ("lr is None", [3]),
        ("lr is nan", [4]),
        ("lr is not nan and lr is not null", [1, 2]),
        ("row is nan", []),
        ("row is not nan", [1, 2, 3, 4]),
        ("lr in [0.1, 1]", [1, 2]),
        ("lr not in (1,)", [1]),
        ("status in ['failed', 'diverged'] or shared", [1, 2, 4]),
        ("not shared", [2]),
        ("shared == true", [1, 4]),
        ("shared == False", [2]),
        ("0.05 < lr <= 0.1", [1]),
        ("1 < row < model.width < 64", [2, 3]),
        ("  row == 1  ", [1]),
        ("row == -1", []),
        ("row == +2", [2]),
        ("clip_norm == inf", []),  # a column may be called inf: it goes first
        ("clip_norm < 1e400", [2, 3, 4]),
        ("row < 99999999999999999999999999", [1, 2, 3, 4]),
        ("row == 0x2", [2]),
        ("'done' == status", [1, 3]),
        (r"status == '\d'", []),
        ("row == 1 or row == 2 and lr < 0", [1]),
        ("(row == 1 or row == 2) and lr < 0", []),
    ],
)
def test_conditions(text, rows):
    assert chosen(text) == rows


def test_infinity_is_a_word():
    table = TABLE.drop("inf")
    assert table.filter(condition("clip_norm == inf", table.schema))["row"].to_list() == [1]
    assert table.filter(condition("-inf < clip_norm < inf", table.schema))["row"].to_list() == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("lr = 1", "write == to compare"),
        ("", "write for example"),
        ("lr > 0.1 && row == 1", "must be an expression"),
        ("(" * 300 + "row" + ")" * 300, "must be an expression"),
        ("not " * 2000 + "shared", "must be an expression"),
        ("row == 1" + " " * 10_000, "at most 10000 characters"),
        ("\x00", "must be an expression"),
        ("lr", "must compare, found lr alone"),
        ("3", "must compare, found 3 alone"),
        ("lrr > 1", "did you mean lr?"),
        ("model.widht > 1", "did you mean model.width?"),
        ("status == done", "text stands in quotes"),
        ("status > 1", r"status \(text\) and 1 \(number\)"),
        ("shared == 1", r"shared \(true or false\) and 1"),
        ("row in [1, 'a']", "of one kind"),
        ("row in 3", "'in' needs a list"),
        ("row in []", "'in' needs a list"),
        ("lr is 1", "between a column and null or nan"),
        ("1 is null", "between a column and null or nan"),
        ("lr == null", "write 'is null'"),
        ("lr == nan", "'is nan'"),
        ("lr + 1 > 2", "a value must be"),
        ("-lr > 1", "a value must be"),
        ("lr == 1j", "a value must be"),
        ("f'{lr}' == 'x'", "a value must be"),
        ("b'x' == status", "a value must be"),
        ("lr < 1 if shared else shared", "a value must be"),
        ("(lr := 1) > 2", "a value must be"),
        ("[lr for lr in [1]]", "a value must be"),
        ("(lambda: 1)() == row", "a value must be"),
        ("row[0] == 1", "a value must be"),
        ("().__class__.__bases__ == row", "a value must be"),
        ("__import__('os').system('true') == 0", "a value must be"),
        ("row == print('x')", "a value must be"),
    ],
)
def test_whatever_else_is_refused_in_one_line(text, complaint, capsys):
    with pytest.raises(ConditionError, match=complaint) as caught:
        condition(text, TABLE.schema)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert capsys.readouterr().out == ""


def test_random_text_is_read_or_refused():
    """No text ends in another exception: 2,000 random strings of tokens."""
    rng = random.Random(0)
    words = "lr row status shared and or not in is null nan lambda 1 'x'"
    tokens = [*words.split(), *"()[],.=<>-:;@\\\n#*"]
    read = 0
    for _ in range(2000):
        text = " ".join(rng.choices(tokens, k=rng.randint(1, 7)))
        try:
            TABLE.filter(condition(text, TABLE.schema))
            read += 1
        except ConditionError:
            pass
    assert read > 0


def test_a_column_that_is_nowhere_near_lists_some():
    assert known_column("lr", TABLE.columns) == "lr"
    with pytest.raises(ConditionError, match=r"found 'zzzz'; there are row, lr, status"):
        known_column("zzzz", TABLE.columns)
