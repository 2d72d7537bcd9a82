"""JAX Privacy under audit: its clipped gradient, its Gaussian noise and its Poisson sampler, on the MLP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_privacy import batch_selection, clipping, noise_addition
from numpy.typing import NDArray
from subjects import BATCH_SIZE, CLIP_NORM, NUM_EXAMPLES, SAMPLING_PROB, SIGMA, Scope, Task, claim_for

_MANY, _PLACES = 10**9, 64


class JaxStep:
    """``clipped_grad`` normalised by the public batch size, and ``gaussian_privatizer``.

    With ``padded`` batches are filled up to 64 places as its documentation advises against compiling each
    size anew; an empty batch is then 64 places of padding.
    """

    def __init__(self, task: Task, *, scope: Scope, padded: bool = False) -> None:
        inputs, targets = task.examples(scope)
        self._inputs, self._targets = inputs.numpy(), targets.numpy()
        self.examples = len(inputs)
        self._params = {name: jnp.asarray(p.detach().numpy()) for name, p in task.module().named_parameters()}
        self._gradient = jax.jit(
            clipping.clipped_grad(
                _loss,
                l2_clip_norm=CLIP_NORM,
                normalize_by=BATCH_SIZE,
                batch_argnums=(1, 2),
            )
        )
        self._padded = padded
        privatizer = noise_addition.gaussian_privatizer(stddev=SIGMA * CLIP_NORM / BATCH_SIZE, prng_key=0)
        self._noise_state = privatizer.init(self._params)
        self._noise = jax.jit(privatizer.update)
        self.claim = claim_for([(name, p.size) for name, p in self._params.items()])
        self._drawn: tuple[int, int, Iterator[Any]] | None = None

    def release(self, indices: Sequence[int], *, noise: bool, seed: int) -> NDArray[np.floating]:
        """The private gradient."""
        del seed
        rows = np.array(indices, dtype=np.int64)
        if self._padded:
            places = np.full(_PLACES * max(1, -(-len(rows) // _PLACES)), -1)
            places[: len(rows)] = rows
            rows = places
        grads = self._gradient(
            self._params, self._inputs[rows], self._targets[rows], is_padding_example=jnp.asarray(rows < 0)
        )
        if noise:
            grads, self._noise_state = self._noise(grads, self._noise_state)
        return np.concatenate([np.asarray(grads[name]).ravel() for name in self._params])

    def sample(self, step: int, seed: int) -> Sequence[int]:
        """A batch of its Poisson sampling."""
        if self._drawn is None or self._drawn[:2] != (seed, step):
            sampling = batch_selection.CyclicPoissonSampling(sampling_prob=SAMPLING_PROB, iterations=_MANY)
            self._drawn = (seed, 0, iter(sampling.batch_iterator(NUM_EXAMPLES, rng=seed)))
        _, place, batches = self._drawn
        batch = next(batches)
        while place < step:
            batch, place = next(batches), place + 1
        self._drawn = (seed, step + 1, batches)
        return np.asarray(batch).tolist()


def _loss(params: Any, inputs: Any, targets: Any) -> Any:
    hidden = jnp.tanh(inputs @ params["0.weight"].T + params["0.bias"])
    logits = hidden @ params["2.weight"].T + params["2.bias"]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], axis=1)
    return -chosen.mean()
