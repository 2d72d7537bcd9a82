"""The picture in a gradient: one step without noise gives a digit away to round-off, clipped or not.

With noise the picture dissolves long before the step is private: beside each level stand the step's own
epsilon, and how often the likeliest of 36 pictures is the true one.
"""

import math

import torch
from torch import nn

from clifftop.audit.inversion import (
    AttackedModel,
    ClosedForm,
    RankOne,
    one_step_plan,
    reconstruction_curve,
    release,
)
from clifftop.criteria import cross_entropy

SHADES = " .:-=+*#%@"
# The first image of scikit-learn's digits, a zero; pixels from 0 to 16.
DIGIT = """
0  0  5 13  9  1  0  0
0  0 13 15 10 15  5  0
0  3 15  2  0 11  8  0
0  4 12  0  0  8  8  0
0  5  8  0  0  9  8  0
0  4 11  0  1 12  7  0
0  2 14  5 10 12  0  0
0  0  6 13 10  0  0  0
"""


def show(images: list[torch.Tensor]) -> None:
    """Images beside each other, dark is 1."""
    for row in range(8):
        lines = ["".join(SHADES[int(9 * v)] * 2 for v in image[0, 0, row].clamp(0, 1)) for image in images]
        print("  |  ".join(lines))


def main() -> None:
    """Invert one step at several levels of noise."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    model = AttackedModel(module=module, criterion=cross_entropy, input_shape=(1, 8, 8), num_classes=10)
    digit = torch.tensor([float(v) for v in DIGIT.split()]).reshape(1, 1, 8, 8) / 16
    label = torch.tensor([0])

    levels = (0.0, 0.01, 0.03, 0.1)
    shown = [digit]
    for sigma in levels:
        step = release(model, digit, label, plan=one_step_plan(clip_norm=1.0, noise_multiplier=sigma), seed=1)
        shown.append(RankOne().reconstruct(step, model).inputs)
    print("the digit, and what one step shows of it at sigma " + ", ".join(f"{s:g}" for s in levels))
    show(shown)
    clean = release(model, digit, label, plan=one_step_plan(clip_norm=1.0, noise_multiplier=0.0), seed=1)
    error = (ClosedForm().reconstruct(clean, model).inputs - digit).abs().max()
    print(f"largest error without noise: {error:.1e}\n")

    moved = [digit.roll((i, j), (2, 3)) for i in range(6) for j in range(6)]
    curve = reconstruction_curve(
        model, [RankOne()], torch.cat(moved), torch.zeros(36, dtype=torch.long),
        noise_multipliers=(*levels, 0.3, 1.0), trials=100, candidates=36,
    )  # fmt: skip
    print("sigma  epsilon  cosine  by picture  by gradient  permitted   (of 36; blind: 0.03)")
    for row in curve.rows:
        spent = "inf" if row.epsilon == math.inf else f"{row.epsilon:.1f}"
        print(
            f"{row.noise_multiplier:5g}  {spent:>7}  {row.cosine:6.2f}  {row.identified.rate:10.2f}"
            f"  {row.matched.rate:11.2f}  {row.permitted:9.2f}"
        )


if __name__ == "__main__":
    main()
