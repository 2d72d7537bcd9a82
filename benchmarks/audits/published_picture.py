"""Draw the published study under audit, from its record: docs/images/published_under_audit.png."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from clifftop.report.drawings.axes import log_domain
from clifftop.report.drawings.drawing import Drawing, Panel, Table, layered

BENCHMARKS = Path(__file__).parents[1]
PICTURE = BENCHMARKS.parent / "docs" / "images" / "published_under_audit.png"
Json = dict[str, Any]

PUBLISHED = "as published"
SHOWN = "shown by sampling: epsilon is at least this"
RAN = "certified: batches in the order in which the code ran"
SAMPLED = "certified: batches sampled by Poisson, as was claimed"
KINDS = (PUBLISHED, SHOWN, RAN, SAMPLED)
ORANGE, BLUE, INK, MUTED = "#D55E00", "#0072B2", "#202429", "#8A929B"
REFUTED, NOT_REFUTED, OUT_OF_REACH = "refuted", "not refuted", "out of reach"
WIDTH, HEIGHT, MARGIN = 600, 330, 210


def main() -> None:
    """Read the record, draw, write."""
    record = json.loads((BENCHMARKS / "records" / "audit_published.json").read_text(encoding="utf-8"))
    PICTURE.write_bytes(drawing(record["figures"]).file("png"))


def drawing(figures: Json) -> Drawing:
    """The chart: a row for each noise multiplier."""
    points, spans, verdicts = tables(figures)
    return Drawing(
        name="published_under_audit",
        title="The published epsilons under audit",
        caption="Shaded: privacy loss that was not reported. By accountant: less than is certain for Poisson "
        "sampling, which the study claims. By sampling: less than what the study's own batches, clipping and "
        "noise release, measured; the bounds hold together with 95% confidence, for independent runs.",
        panels=(Panel(title="", view=view(points), paper=(WIDTH, HEIGHT)),),
        data={"points": points, "spans": spans, "verdicts": verdicts},
    )


def tables(figures: Json) -> tuple[Table, Table, Table]:
    """Points by kind, the span from what was published to the truth, and verdicts in words."""
    points: Table = {"sigma": [], "kind": [], "epsilon": []}
    spans: Table = {"sigma": [], "low": [], "high": []}
    verdicts: Table = {"sigma": [], "by": [], "verdict": []}
    accountant = {answer["sigma"]: answer["refuted"] for answer in figures["accountant"]["answers"]}
    for row in figures["rows"]:
        name = label(row["sigma"])
        measured = row["fixed order"]
        truth = row["truth"]["fixed order"][0]
        values = row["published"], measured["plain"]["epsilon"], truth, row["truth"]["Poisson"][0]
        for kind, epsilon in zip(KINDS, values, strict=True):
            points["sigma"].append(name)
            points["kind"].append(kind)
            points["epsilon"].append(epsilon)
        spans["sigma"].append(name)
        spans["low"].append(row["published"])
        spans["high"].append(truth)
        reach = measured["plain"]["at_most"] > row["published"]
        by_sampling = REFUTED if measured["refuted"] else NOT_REFUTED if reach else OUT_OF_REACH
        for by, verdict in (
            ("accountant", REFUTED if accountant[row["sigma"]] else NOT_REFUTED),
            ("sampling", by_sampling),
        ):
            verdicts["sigma"].append(name)
            verdicts["by"].append(by)
            verdicts["verdict"].append(verdict)
    return points, spans, verdicts


def label(sigma: float) -> str:
    """A noise multiplier on the axis."""
    return f"{sigma:g}"


def view(points: Table) -> Json:
    """The rows: spans below, then points, then words at the right."""
    domain = log_domain(points["epsilon"], room=1.6)
    scale = {"type": "log", "domain": list(domain), "nice": False}
    ticks = [1, 10, 100, 1e3, 1e4, 1e5]
    words = "datum.value >= 1000 ? format(datum.value / 1000, ',') + 'k' : format(datum.value, '~g')"
    axis = {"values": ticks, "labelExpr": words, "grid": True}
    title = "epsilon at delta = 1e-5, log scale"
    x: Json = {"field": "epsilon", "type": "quantitative", "title": title, "scale": scale, "axis": axis}
    rows = list(dict.fromkeys(points["sigma"]))
    y: Json = {
        "field": "sigma",
        "type": "nominal",
        "title": "noise multiplier",
        "sort": rows,
        "scale": {"paddingInner": 0.2, "paddingOuter": 0.35},
        "axis": {"grid": False, "ticks": False, "domain": False},
    }
    span = {
        "data": {"name": "spans"},
        "mark": {"type": "rule", "strokeWidth": 9, "opacity": 0.16, "color": ORANGE, "strokeCap": "round"},
        "encoding": {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "y": y},
    }
    heads = [_head(by, place) for by, place in _COLUMNS.items()]
    return layered(span, _points(x, y), *heads, *[_words(by, place, y) for by, place in _COLUMNS.items()])


_COLUMNS = {"accountant": WIDTH + 20, "sampling": WIDTH + 115}


def _points(x: Json, y: Json) -> Json:
    shapes = ["circle", "triangle-right", "diamond", "M0,-1L0,1"]
    legend = {
        "orient": "bottom",
        "direction": "vertical",
        "columns": 2,
        "title": None,
        "labelLimit": 400,
        "symbolStrokeWidth": 2.2,
    }
    kinds = {"field": "kind", "type": "nominal", "legend": legend}
    return {
        "data": {"name": "points"},
        "mark": {"type": "point", "strokeWidth": 2.2, "opacity": 1},
        "encoding": {
            "x": x,
            "y": y,
            "shape": {**kinds, "scale": {"domain": list(KINDS), "range": shapes}},
            "stroke": {**kinds, "scale": {"domain": list(KINDS), "range": [ORANGE, BLUE, INK, MUTED]}},
            "fill": {**kinds, "scale": {"domain": list(KINDS), "range": ["#FFFFFF", BLUE, INK, MUTED]}},
            "size": {**kinds, "scale": {"domain": list(KINDS), "range": [190, 75, 95, 170]}},
        },
    }


def _head(by: str, place: int) -> Json:
    return {
        "data": {"values": [{"by": f"by {by}"}]},
        "mark": {"type": "text", "align": "left", "fontSize": 12, "color": MUTED, "clip": False},
        "encoding": {"text": {"field": "by"}, "x": {"value": place}, "y": {"value": -6}},
    }


def _words(by: str, place: int, y: Json) -> Json:
    strong = f"datum.verdict == '{REFUTED}'"
    return {
        "data": {"name": "verdicts"},
        "transform": [{"filter": f"datum.by == '{by}'"}],
        "mark": {"type": "text", "align": "left", "fontSize": 12, "clip": False},
        "encoding": {
            "text": {"field": "verdict"},
            "x": {"value": place},
            "y": y,
            "color": {"condition": {"test": strong, "value": ORANGE}, "value": MUTED},
        },
    }


if __name__ == "__main__":
    main()
