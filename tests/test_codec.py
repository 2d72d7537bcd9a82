"""Canonical JSON: round trips, one text for equal values, and what a file may not name."""

import enum
import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clifftop.codec import CodecError, canonical_json, content_id, decode, encode, from_json
from clifftop.events import Composed, FixedOrder, Gaussian, NeighboringRelation, PoissonSampled, SelfComposed


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    number: float = 0.0
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    colour: Colour = Colour.RED
    floats: tuple[float, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    listed: list[float] = field(default_factory=list)
    sequence: Sequence[float] = ()
    named: Mapping[str, float] = field(default_factory=dict)
    free: Any = None


@dataclass
class Thawed:
    number: float = 0.0


KINDS = (Outer, Inner, Colour)

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.floats(allow_nan=False)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | numbers | st.text(max_size=8)
free = st.recursive(
    scalars | st.builds(Inner, number=numbers) | st.sampled_from(Colour),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4).filter(lambda key: not key.startswith("$")), inner, max_size=3)
    ),
    max_leaves=8,
)
outers = st.builds(
    Outer,
    inner=st.builds(Inner, number=numbers, count=st.none() | st.integers(0, 9)),
    colour=st.sampled_from(Colour),
    floats=st.lists(numbers, max_size=3).map(tuple),
    pair=st.tuples(st.integers(0, 9), numbers),
    listed=st.lists(numbers, max_size=3),
    sequence=st.lists(numbers, max_size=2).map(tuple),
    named=st.dictionaries(st.sampled_from("abc"), numbers, max_size=3),
    free=free,
)


def same(a: object, b: object) -> bool:
    """Equal, and of equal types all the way down (1 is not 1.0, a list is not a tuple)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if hasattr(a, "__dataclass_fields__"):
        return all(same(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)
    return a == b


@settings(derandomize=True, max_examples=150, deadline=None)
@given(outers)
def test_round_trip_keeps_values_and_types(value):
    text = canonical_json(value)
    back = from_json(text, Outer, kinds=KINDS)
    assert same(back, value)
    assert canonical_json(back) == text
    assert text.isascii()
    assert "Infinity" not in text
    assert "NaN" not in text


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(-9, 9), st.lists(st.integers(-9, 9), max_size=3))
def test_whole_numbers_in_float_fields_are_the_same_content(whole, several):
    as_int = Outer(inner=Inner(number=whole), floats=tuple(several), pair=(whole, whole), named={"a": whole})
    as_float = Outer(
        inner=Inner(number=float(whole)),
        floats=tuple(map(float, several)),
        pair=(float(whole), float(whole)),
        named={"a": float(whole)},
    )
    assert as_int == as_float
    assert canonical_json(as_int) == canonical_json(as_float)


def test_order_and_spelling_do_not_matter():
    one = Outer(inner=Inner(number=-0.0), named={"b": 1.0, "a": 2.0}, sequence=[1.0], floats=[2.0])
    two = Outer(
        named={"a": np.float64(2.0), "b": np.float32(1.0)}, inner=Inner(), sequence=(1,), floats=(2.0,)
    )
    assert canonical_json(one) == canonical_json(two)
    assert canonical_json(one) != canonical_json(Outer(inner=Inner(number=1e-300)))


def test_without_a_declared_type_one_and_one_point_zero_differ():
    assert canonical_json({"width": 1}) != canonical_json({"width": 1.0})


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_non_finite_numbers_survive(number):
    text = canonical_json(Inner(number=number))
    assert json.loads(text)["number"] == {"$float": str(number)}
    assert repr(from_json(text, Inner, kinds=KINDS).number) == repr(number)


def test_values_of_this_package_need_no_kinds():
    event = Composed((FixedOrder(Gaussian(1), 20), SelfComposed(PoissonSampled(0.16, Gaussian(2.0)), 140)))
    assert decode(encode(event), Composed) == event
    assert decode(encode(NeighboringRelation.ZERO_OUT), NeighboringRelation) is NeighboringRelation.ZERO_OUT


def test_the_same_text_in_another_process():
    script = (
        "from clifftop.codec import canonical_json; from clifftop.events import *;"
        "value = [{'b': 1, 'a': float('inf')}, NeighboringRelation.ZERO_OUT, Gaussian(1)];"
        "print(canonical_json(value), end='')"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out == canonical_json([{"a": math.inf, "b": 1}, NeighboringRelation.ZERO_OUT, Gaussian(1.0)])
    assert content_id(out) == content_id(out) != content_id(out + " ")


def local_class():
    @dataclass(frozen=True)
    class Local:
        pass

    return Local()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Thawed(), "add frozen=True"),
        (local_class(), "top of an importable module"),
        ({"$kind": 1}, "does not begin with"),
        ({1: 2}, "key must be a string"),
        ({1, 2}, "type=builtins.set"),
        (b"bytes", "type=builtins.bytes"),
        (np.bool_(True), "type=numpy.bool"),
        (np.zeros(2), "type=numpy.ndarray"),
        (Outer(inner=Inner(), free={"deep": object()}), "Outer.free: .*type=builtins.object"),
    ],
)
def test_a_value_without_canonical_json_is_refused(value, message):
    with pytest.raises(CodecError, match=message):
        encode(value)


def gaussian(**changes):
    return {"$kind": "clifftop.events:Gaussian", "noise_multiplier": 1.0} | changes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gaussian(sigma=1, zeta=2), "Gaussian has unknown fields: sigma, zeta"),
        ({"$kind": "clifftop.events:Gaussian"}, "Gaussian has missing fields: noise_multiplier"),
        (gaussian(noise_multiplier=-1), "noise_multiplier must be finite"),
        (gaussian(noise_multiplier="one"), "Gaussian: "),
        (gaussian(**{"$kind": "os:system"}), "passed in kinds, found 'os:system'"),
        (gaussian(**{"$kind": "clifftopper.events:Gaussian"}), "passed in kinds"),
        (gaussian(**{"$kind": "clifftop.__main__:Gaussian"}), "passed in kinds"),
        (gaussian(**{"$kind": "clifftop.codec:math.inf"}), "must name a class where it is defined"),
        (gaussian(**{"$kind": "clifftop.codec:json.JSONDecoder"}), "where it is defined"),
        (gaussian(**{"$kind": "clifftop.lab.runner:RunSpec"}), "where it is defined"),
        (gaussian(**{"$kind": "clifftop.events:Gaussian.__init__"}), "passed in kinds"),
        (gaussian(**{"$kind": "clifftop.events:Unknown"}), "names no class"),
        (gaussian(**{"$kind": "clifftop.nowhere:Gaussian"}), "names no class"),
        (gaussian(**{"$kind": ["clifftop.events:Gaussian"]}), "passed in kinds"),
        (gaussian(**{"$kind": "clifftop.lab.store.file:Store"}), "must name a frozen dataclass"),
        ({"$enum": "clifftop.events:Gaussian", "name": "ZERO_OUT"}, "must name an enumeration"),
        ({"$enum": "clifftop.events:NeighboringRelation", "name": "NONE"}, "no such member"),
        ({"$enum": "clifftop.events:NeighboringRelation", "name": "ZERO_OUT", "x": 1}, "no such member"),
        ({"$float": "12"}, r"\$float must be"),
        ({"$call": "clifftop.events:Gaussian"}, r"a tag must be .* found \$call"),
        ([1], "must be a Gaussian, found tuple"),
    ],
)
def test_data_that_names_no_value_is_refused(data, message):
    with pytest.raises(CodecError, match=message) as caught:
        decode(data, Gaussian)
    assert "\n" not in str(caught.value)


def test_a_class_from_outside_is_refused_unless_passed_and_never_imported(tmp_path, monkeypatch):
    (tmp_path / "outside_codec.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CodecError, match="passed in kinds"):
        decode({"$kind": "outside_codec:Thing"}, object)
    assert "outside_codec" not in sys.modules
    with pytest.raises(CodecError, match="passed in kinds"):
        decode(encode(Inner()), Inner)
    assert decode(encode(Inner()), Inner, kinds=[Inner]) == Inner()


def test_text_that_is_no_json_is_refused():
    with pytest.raises(CodecError, match="must be JSON"):
        from_json('{"$kind": "clifftop.ev', Gaussian)
