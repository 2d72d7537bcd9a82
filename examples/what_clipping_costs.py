"""Noise, clipping, or the learning rate? A sweep with the runs that tell, and its report in sentences."""

import tempfile

from clifftop.lab.sweep import Factory, Sweep, train_sweep
from clifftop.report import build_report
from clifftop.report.card import privacy_card
from clifftop.report.material import load_material

sweep = Sweep(
    name="what-clipping-costs",
    model=Factory(target="clifftop.studies.no_cliff.model:mlp"),
    data=Factory(target="clifftop.datasets:gaussian_clusters", options={"normalise": False}),
    delta=1e-5,
    expected_batch_size=64,
    steps=70,
    baselines=True,
    counterfactuals=True,  # beside each private run: its clipping alone, its noise alone, neither
    axes={
        "target_epsilon": [1, 8],
        "clip_norm": [0.1, 1],
        "lr": [0.1, 1],
        "seed": {"stop": 8},
    },
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        train_sweep(sweep, folder)  # the command: clifftop sweep
        material = load_material(folder)
        built = build_report(folder, formats=())  # clifftop report
        print(f"a page of {built.page.stat().st_size / 1e6:.1f} MB")
        for conclusion in material.conclusions:
            print(f"[{conclusion.kind}] {conclusion.title}. {conclusion.text}")
        print(privacy_card(folder).verdict.text)  # clifftop card
