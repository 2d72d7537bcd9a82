"""Eight cells of noise and clipping for a CNN on 10,000 images."""

from __future__ import annotations

from clifftop.clipping import Flat
from clifftop.events import NeighboringRelation
from clifftop.lab import Factory, OptimizerSpec, RunSpec
from clifftop.noise import Gaussian, Keyed
from clifftop.plan import PrivacyPlan
from clifftop.sampling import Poisson
from clifftop.studies.base import Axes, Study

NUM_EXAMPLES = 10_000
BATCH_SIZE = 512
EPOCHS = 5
STEPS_PER_EPOCH = 20
STEPS = EPOCHS * STEPS_PER_EPOCH

FASHION_CNN = Study(
    name="fashion-cnn",
    title="A 26k-parameter CNN on 10,000 Fashion-MNIST images",
    question="What accuracy does each epsilon buy on real images, at two clip norms?",
    template=RunSpec(
        model=Factory(target="clifftop.studies.fashion_cnn.model:cnn"),
        data=Factory(
            target="clifftop.studies.fashion_cnn.model:rows",
            options={"num_train": NUM_EXAMPLES, "num_test": 2_000},
        ),
        plan=PrivacyPlan(
            sampler=Poisson(sampling_prob=BATCH_SIZE / NUM_EXAMPLES),
            clipping=Flat(clip_norm=1.0),
            noise=Gaussian(noise_multiplier=1.0),
            neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
            expected_batch_size=float(BATCH_SIZE),
        ),
        optimizer=OptimizerSpec(name="sgd", lr=0.25, options={"momentum": 0.9}),
        steps=STEPS,
        evaluate_every=STEPS_PER_EPOCH,
        seed=0,
        streams=Keyed(),
    ),
    defaults=Axes(noise_multipliers=(0.6, 1.0, 2.0, 4.0), clip_norms=(1.0, 4.0), lrs=(0.25,), seeds=(0,)),
    delta=1e-5,
    epochs=EPOCHS,
    batch_size=BATCH_SIZE,
    num_examples=NUM_EXAMPLES,
    caveats=(
        "Each epsilon is that of one run; releasing the best of many, or all of them, costs more.",
        "Pixels are scaled by constants published with the data set, not computed from these rows.",
        "Seeds are recorded here, so the noise can be recomputed: a release must keep them secret.",
        "One seed by default: give --seeds 0:5 for intervals.",
    ),
)
