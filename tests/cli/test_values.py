"""Lists and ranges: what is written is what is read, and what cannot be read is named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.cli.values import MAX_VALUES, ValueListError, parse_integers, parse_numbers

whole = st.integers(-(10**12), 10**12)
finite = st.floats(allow_nan=False, allow_infinity=False)
spaces = st.sampled_from(["", " ", "  "])


@settings(derandomize=True, max_examples=100)
@given(st.lists(whole, min_size=1, unique=True), spaces)
def test_integers_come_back_in_order(values, space):
    text = f"{space},{space}".join(map(str, values))
    assert parse_integers("--seeds", text) == tuple(values)


@settings(derandomize=True, max_examples=100)
@given(st.lists(finite, min_size=1, unique=True))
def test_numbers_come_back_to_the_bit(values):
    assert parse_numbers("--sigma", ",".join(map(repr, values))) == tuple(values)


@settings(derandomize=True, max_examples=100)
@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(-50, 50).filter(bool))
def test_a_range_is_pythons(start, stop, step):
    expected = tuple(range(start, stop, step))
    text = f"{start}:{stop}:{step}"
    if expected:
        assert parse_integers("--seeds", text) == expected
    else:
        with pytest.raises(ValueListError, match="ranges that hold a value"):
            parse_integers("--seeds", text)


def outcome(parse, text):
    try:
        return parse("--some-flag", text), None
    except ValueListError as error:
        return (), str(error)


@settings(derandomize=True, max_examples=200)
@given(st.text(alphabet="0123456789.,:-+eE naxif_", max_size=12))
def test_any_text_is_read_or_refused_in_one_line_that_names_the_flag(text):
    for parse in (parse_integers, parse_numbers):
        values, refusal = outcome(parse, text)
        if refusal is None:
            assert len(values) >= 1
            assert len(set(values)) == len(values)
        else:
            assert refusal.startswith("--some-flag ")
            assert "\n" not in refusal


def test_ranges_and_numbers_mix():
    assert parse_integers("--seeds", "0:10:2,1") == (0, 2, 4, 6, 8, 1)
    assert parse_numbers("--sigma", "0.5, 1:3 ,1e-2") == (0.5, 1.0, 2.0, 0.01)
    assert len(parse_integers("--seeds", "0:1000")) == 1000


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_integers, "", "--seeds must have a value between commas, found ''"),
        (parse_integers, "1,,2", "found '1,,2'"),
        (parse_integers, "1.5", "--seeds takes whole numbers here, found '1.5'"),
        (parse_integers, "1,zwei", "found 'zwei'"),
        (parse_integers, "0:x", "found '0:x'"),
        (parse_integers, "0:", "found '0:'"),
        (parse_integers, "1:2:3:4", "found '1:2:3:4'"),
        (parse_integers, "0:9:0", "a step that is not 0, found '0:9:0'"),
        (parse_integers, "5:5", "found '5:5'"),
        (parse_integers, f"0:{MAX_VALUES + 1}", f"at most {MAX_VALUES} values"),
        (parse_integers, f"0:{MAX_VALUES},-1", f"at most {MAX_VALUES} values"),
        (parse_integers, "3,0:5", "found 3 twice"),
        (parse_numbers, "1,1.0", "found 1.0 twice"),
        (parse_numbers, "nan", "finite numbers, found 'nan'"),
        (parse_numbers, "1,inf", "finite numbers, found 'inf'"),
        (parse_numbers, "0.1:1:0.1", "whole numbers here, found '0.1:1:0.1'"),
        (parse_numbers, "a", "takes numbers by commas, found 'a'"),
    ],
)
def test_the_bad_piece_is_named(parse, text, message):
    with pytest.raises(ValueListError) as refusal:
        parse("--seeds", text)
    assert message in str(refusal.value)
