"""Reading results.json: what it holds, and one clear line for everything that can be wrong."""

import copy
import json
import math
import re

import polars as pl
import pytest

from clifftop.analysis.jsonio import ResultsError, dumps, read_document, to_jsonable
from clifftop.analysis.results import load_results, parse_results


def write(folder, document):
    (folder / "results.json").write_bytes(dumps(document))
    return folder


def test_reads_what_was_written(tmp_path, published_document):
    results = load_results(write(tmp_path, published_document))
    assert (results.runs.height, results.baselines.height) == (63, 3)
    assert results.config.seeds == (42, 123, 456)
    assert results.config.caveats == tuple(published_document["config"]["caveats"])
    assert results.metadata.machine["cpus"] == 2
    first = results.runs.row(0, named=True)
    assert (first["noise_multiplier"], first["clip_norm"], first["seed"]) == (0.01, 0.1, 42)
    assert (first["accuracy"], first["epsilon_upper"]) == (0.83, 101906.3)
    assert first["norm_q90"] == 2.4
    assert results.epsilons[3].poisson.estimate == 13.7248
    assert len(results.digest) == 64


def test_frames_have_types_even_when_all_is_null(parse, documents):
    document = documents.synthetic_document(sampling="poisson", seeds=(1,), lrs=(10.0,))
    results = parse(document)
    assert results.runs["epsilon_published"].dtype == pl.Float64
    assert results.runs["epsilon_published"].null_count() == results.runs.height
    assert results.baselines["loss"].dtype == pl.Float64
    assert results.baselines["status"].to_list() == ["diverged"]


def test_non_finite_floats_are_strings(parse, published_document):
    published_document["dp_runs"][0]["epsilon"] = {"lower": 1, "estimate": "inf", "upper": "inf"}
    published_document["dp_runs"][0]["diagnostics"]["noise_norm"] = "nan"
    row = parse(published_document).runs.row(0, named=True)
    assert row["epsilon_upper"] == math.inf
    assert math.isnan(row["noise_norm"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(math.inf, '"inf"'), (-math.inf, '"-inf"'), (math.nan, '"nan"'), (1.5, "1.5"), (None, "null")],
)
def test_floats_to_json(value, text):
    assert json.dumps(to_jsonable(value)) == text


def place(document, path):
    *parents, last = path
    for key in parents:
        document = document[key]
    return document, last


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("config",), "'config'"),
        (("config", "delta"), "'config.delta'"),
        (("metadata", "torch"), "'metadata.torch'"),
        (("dp_runs", 7, "clip_norm"), "'dp_runs[7].clip_norm'"),
        (("dp_runs", 62, "epsilon", "upper"), "'dp_runs[62].epsilon.upper'"),
        (("dp_runs", 0, "diagnostics", "norm_q10"), "'dp_runs[0].diagnostics.norm_q10'"),
        (("baseline_runs", 2, "seed"), "'baseline_runs[2].seed'"),
        (("epsilons", 1, "poisson"), "'epsilons[1].poisson'"),
        (("schema",), "'schema'"),
    ],
)
def test_a_missing_key_is_named(parse, published_document, path, named):
    parent, last = place(published_document, path)
    del parent[last]
    with pytest.raises(ResultsError, match=re.escape(f"results.json: key {named} is missing")):
        parse(published_document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("config", "seeds"), [1, 2.5], "key 'config.seeds[1]' must be a whole number, found 2.5"),
        (("config", "lrs"), 0.1, "key 'config.lrs' must be a list, found 0.1"),
        (("config", "title"), 3, "key 'config.title' must be a string, found 3"),
        (("metadata", "machine"), "box", "key 'metadata.machine' must be an object, found 'box'"),
        (("dp_runs", 4, "accuracy"), True, "key 'dp_runs[4].accuracy' must be a number"),
        (("dp_runs", 4, "accuracy"), None, "key 'dp_runs[4].accuracy' must be a number"),
        (("dp_runs", 4, "accuracy"), "high", "key 'dp_runs[4].accuracy' must be a number"),
        (("dp_runs", 4), [], "key 'dp_runs[4]' must be an object"),
        (("schema",), 2, "key 'schema' must be 1, found schema=2"),
        (("config", "title"), ["x" * 500], "found ['xxxx"),
    ],
)
def test_a_wrong_value_is_named(parse, published_document, path, value, message):
    parent, last = place(published_document, path)
    parent[last] = value
    with pytest.raises(ResultsError, match=re.escape(message)) as caught:
        parse(published_document)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_no_folder(tmp_path):
    with pytest.raises(ResultsError, match=r"results\.json: no such file; run the study"):
        load_results(tmp_path / "none")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_file_cut_short(tmp_path, published_document, share):
    raw = dumps(published_document)
    (tmp_path / "results.json").write_bytes(raw[: int(share * (len(raw) - 3))])
    with pytest.raises(
        ResultsError, match=r"results\.json: not complete JSON .* run the study again"
    ) as caught:
        load_results(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", "not complete JSON"),
        (b"[1, 2]", "must hold one JSON object, found list"),
        (b'{"schema": NaN}', 'must be the string "inf", "-inf" or "nan", found NaN'),
    ],
)
def test_other_files(tmp_path, content, message):
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(ResultsError, match=re.escape(message)):
        read_document(tmp_path / "results.json")


def test_a_folder_in_its_place(tmp_path):
    (tmp_path / "results.json").mkdir()
    with pytest.raises(ResultsError, match="cannot be read"):
        load_results(tmp_path)


def test_parsing_leaves_the_document_alone(published_document):
    before = copy.deepcopy(published_document)
    parse_results(published_document, source="results.json", digest="")
    assert published_document == before
