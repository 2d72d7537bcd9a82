"""What one private step shows of the digit in it: attacks against noise, and the limit for all attacks.

Scikit-learn's digits (public, 8 x 8 pixels in [0, 1]; ``pip install scikit-learn``), a tanh MLP 64-64-10 and
a small convolution net at their initialisation, batches of one through `private_gradient` at clip norm 1. An
identification is one of 100 candidates. The picture is ``docs/images/inversion.png``.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
import vl_convert
from torch import Tensor, nn

from clifftop.audit.inversion import (
    AttackedModel,
    ClosedForm,
    CosineMatching,
    Dlg,
    RankOne,
    ReconstructionRow,
    aligned,
    influence,
    mean_squared_error,
    one_step_plan,
    peak_signal_to_noise,
    reconstruction_curve,
    release,
    release_each,
)
from clifftop.audit.inversion.attack import Attack
from clifftop.criteria import cross_entropy
from clifftop.datasets.readers import scikit_learn

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import record

LADDER = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
CLIP_NORMS = (0.1, 1.0, 10.0)
CANDIDATES = 100
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "inversion.png"
SHOWN = 3
CELL, GAP, LEFT, TOP = 12, 20, 190, 56


def digits() -> tuple[Tensor, Tensor]:
    """All 1797 images ``(N, 1, 8, 8)`` in [0, 1] and their classes."""
    rows = scikit_learn("digits", test_fraction=0.1, scale=16)
    images = [
        torch.from_numpy(part.inputs[0]).double().reshape(-1, 1, 8, 8) for part in (rows.train, rows.test)
    ]
    classes = [torch.from_numpy(part.targets[0]) for part in (rows.train, rows.test)]
    return torch.cat(images), torch.cat(classes)


def attacked(module: nn.Module) -> AttackedModel:
    """The module as it was made, in float64."""
    return AttackedModel(
        module=module.double(), criterion=cross_entropy, input_shape=(1, 8, 8), num_classes=10
    )


def mlp() -> nn.Module:
    """A linear layer with a bias comes first."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


def convolution() -> nn.Module:
    """No closed form is known for it."""
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(512, 10))


def unprotected(models: dict[str, AttackedModel], x: Tensor, y: Tensor, count: int) -> dict[str, Any]:
    """Each attack on releases of one digit, clipped at 1, without noise: the worst PSNR in dB."""
    found: dict[str, Any] = {}
    for name, model in models.items():
        plan = one_step_plan(clip_norm=1.0, noise_multiplier=0.0)
        releases = release_each(model, x[:count], y[:count], plan=plan, seed=0)
        attacks: list[Attack] = [
            Dlg(restarts=5),
            Dlg(joint_labels=True),
            CosineMatching(total_variation=1e-4),
        ]
        for attack in attacks + ([ClosedForm(), RankOne()] if name == "mlp" else []):
            started = time.process_time()
            made = [attack.reconstruct(one, model, seed=i) for i, one in enumerate(releases)]
            errors = mean_squared_error(torch.cat([one.inputs for one in made]), x[:count])
            decibels = peak_signal_to_noise(errors, data_range=1.0)
            found[f"{name}, {attack.name}"] = {
                "worst_psnr": round(float(decibels.min()), 1),
                "median_psnr": round(float(sorted(decibels)[count // 2]), 1),
                "largest_mse": float(f"{errors.max():.2g}"),
                "labels_right": sum(int(one.labels[0]) == int(y[i]) for i, one in enumerate(made)),
                "of": count,
                "cpu_seconds_each": round((time.process_time() - started) / count, 3),
            }
    return found


def batches(model: AttackedModel, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Batches whose every gradient is clipped, labels known, without noise: the worst PSNR in dB."""
    found: dict[str, Any] = {}
    for size in (2, 4, 8):
        plan = one_step_plan(clip_norm=1.0, noise_multiplier=0.0, batch_size=size)
        released = release(model, x[:size], y[:size], plan=plan, seed=0)
        made = Dlg(max_iterations=400).reconstruct(released, model, labels=y[:size])
        order = aligned(made.inputs, x[:size])
        errors = mean_squared_error(made.inputs[order], x[:size])
        found[str(size)] = round(float(peak_signal_to_noise(errors, data_range=1.0).min()), 1)
    return found


def small_noise(model: AttackedModel, x: Tensor, y: Tensor, trials: int) -> dict[str, Any]:
    """Mean squared errors beside the least of any unbiased estimator, for one digit."""
    found: dict[str, Any] = {}
    for sigma in (1e-3, 1e-2):
        plan = one_step_plan(clip_norm=1.0, noise_multiplier=sigma)
        local = influence(model, x[:1], y[:1], plan)
        releases = release_each(
            model, x[:1].expand(trials, -1, -1, -1), y[:1].expand(trials), plan=plan, seed=0
        )
        row = {"least_of_unbiased": local.mean_squared_error(noise_std=releases[0].noise_std)}
        for attack in (ClosedForm(), RankOne(), Dlg(restarts=1, max_iterations=100)):
            made = torch.cat([attack.reconstruct(one, model, labels=y[:1]).inputs for one in releases])
            row[attack.name] = float((made - x[:1]).square().mean())
        found[f"{sigma:g}"] = {name: float(f"{value:.3g}") for name, value in row.items()}
    return found


def table(row: ReconstructionRow) -> dict[str, Any]:
    """One row for the record."""
    return {
        "attack": row.attack,
        "clip_norm": row.clip_norm,
        "sigma": row.noise_multiplier,
        "epsilon": round(row.epsilon, 2) if math.isfinite(row.epsilon) else None,
        "mse": float(f"{row.mean_squared_error:.3g}"),
        "cosine": round(row.cosine, 3),
        "residual_cosine": round(row.residual_cosine, 3),
        "labels": round(row.labels, 3),
        "trials": row.identified.trials,
        "identified": row.identified.successes,
        "identified_interval": [round(limit, 4) for limit in row.identified.interval],
        "matched": row.matched.successes,
        "matched_interval": [round(limit, 4) for limit in row.matched.interval],
        "permitted": round(row.permitted, 4),
        "fails": row.fails,
    }


def searches() -> list[Attack]:
    """The attacks by descent, with the budget of the curve."""
    return [Dlg(restarts=1, max_iterations=100), CosineMatching(max_iterations=300)]


def draw(model: AttackedModel, x: Tensor, y: Tensor) -> None:
    """The picture: one digit, four attacks, six levels of noise."""
    attacks = [ClosedForm(), RankOne(), *searches()]
    marks: list[dict[str, Any]] = []
    heads = ["true image", *(f"σ = {sigma:g}" for sigma in LADDER)]
    rows = reconstruction_curve(
        model, [ClosedForm()], x, y, noise_multipliers=LADDER, trials=1, candidates=2
    ).rows
    below = ["", *("ε = ∞" if row.epsilon == math.inf else f"ε = {row.epsilon:.4g}" for row in rows)]
    for column, sigma in enumerate((None, *LADDER)):
        plan = one_step_plan(clip_norm=1.0, noise_multiplier=sigma or 0.0)
        one = release(model, x[:1], y[:1], plan=plan, seed=1)
        for line, attack in enumerate(attacks):
            image = x[:1] if sigma is None else attack.reconstruct(one, model).inputs
            marks += _pixels(image[0, 0], column, line)
    texts = [_text(LEFT + i * (8 * CELL + GAP) + 4 * CELL, 18, head) for i, head in enumerate(heads)]
    texts += [_text(LEFT + i * (8 * CELL + GAP) + 4 * CELL, 40, text) for i, text in enumerate(below)]
    texts += [
        _text(LEFT - 16, TOP + i * (8 * CELL + GAP) + 4 * CELL, one.name, align="right")
        for i, one in enumerate(attacks)
    ]
    width = LEFT + len(heads) * (8 * CELL + GAP)
    PICTURE.write_bytes(vl_convert.vegalite_to_png(_spec(marks, texts, width, len(attacks)), scale=1.5))


def _pixels(image: Tensor, column: int, line: int) -> list[dict[str, Any]]:
    left, top = LEFT + column * (8 * CELL + GAP), TOP + line * (8 * CELL + GAP)
    greys = ((1 - image.clamp(0, 1)) * 255).round().int().tolist()
    return [
        {
            "x": left + i * CELL,
            "y": top + j * CELL,
            "x2": left + (i + 1) * CELL,
            "y2": top + (j + 1) * CELL,
            "grey": f"rgb({grey},{grey},{grey})",
        }
        for j, row in enumerate(greys)
        for i, grey in enumerate(row)
    ]


def _text(x: float, y: float, text: str, *, align: str = "center") -> dict[str, Any]:
    return {"x": x, "y": y, "text": text, "align": align}


def _spec(marks: list[dict[str, Any]], texts: list[dict[str, Any]], width: int, lines: int) -> dict[str, Any]:
    height = TOP + lines * (8 * CELL + GAP)

    def place(field: str, size: int) -> dict[str, Any]:
        scale = {"domain": [0, size], "range": [0, size]}
        return {"field": field, "type": "quantitative", "axis": None, "scale": scale}

    frames = [
        {"x": mark["x"], "y": mark["y"], "x2": mark["x"] + 8 * CELL, "y2": mark["y"] + 8 * CELL}
        for mark in marks[::64]
    ]
    encoding = {"x": place("x", width), "y": place("y", height)}
    own = {"x2": {"field": "x2"}, "y2": {"field": "y2"}}
    colour = {"color": {"field": "grey", "type": "nominal", "scale": None}}
    layers = [{"data": {"values": marks}, "mark": {"type": "rect"}, "encoding": encoding | own | colour}]
    frame = {"type": "rect", "filled": False, "stroke": "#999", "strokeWidth": 1}
    layers += [{"data": {"values": frames}, "mark": frame, "encoding": encoding | own}]
    for align in ("center", "right"):
        chosen = [text for text in texts if text["align"] == align]
        mark = {"type": "text", "fontSize": 15, "align": align, "baseline": "middle"}
        label = {"text": {"field": "text", "type": "nominal"}}
        layers += [{"data": {"values": chosen}, "mark": mark, "encoding": encoding | label}]
    view = {"view": {"stroke": None}, "background": "white", "padding": 8}
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    return {"$schema": schema, "width": width, "height": height, "layer": layers, "config": view}


def main() -> None:
    """Attack, draw, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the trials")
    parser.add_argument("--only-picture", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    x, y = digits()
    torch.manual_seed(0)
    models = {"mlp": attacked(mlp()), "convolution": attacked(convolution())}
    draw(models["mlp"], x[SHOWN:], y[SHOWN:])
    if options.only_picture:
        return
    scale = 10 if options.quick else 1
    shared: dict[str, Any] = {"noise_multipliers": LADDER, "candidates": CANDIDATES}
    closed = reconstruction_curve(
        models["mlp"], [ClosedForm(), RankOne()], x, y, trials=1000 // scale, clip_norms=CLIP_NORMS, **shared
    )
    searched = reconstruction_curve(models["mlp"], searches(), x, y, trials=100 // scale, **shared)
    figures = {
        "without_noise": unprotected(models, x, y, 20 // scale or 1),
        "batches_without_noise_worst_psnr": batches(models["mlp"], x, y),
        "small_noise": small_noise(models["mlp"], x, y, 40 // scale),
        "verdicts": [str(curve.document("digits").verdict) for curve in (closed, searched)],
        "rows": [table(row) for curve in (closed, searched) for row in curve.rows],
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    record("audit_inversion", figures)


if __name__ == "__main__":
    main()
