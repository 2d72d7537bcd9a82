r"""What the noise costs a reconstruction where everything is linear: Fisher information and influence.

A step releases ``F(x) + s N(0, I)`` with F the clipped gradient as a function of the input x, s its noise.
With J the Jacobian of F at x, ``(P, D)``, the Fisher information about x is ``J^T J / s^2``, and

* (Cramer and Rao) an estimator of x that is unbiased near x has ``E |R - x|^2 >= s^2 tr (J^T J)^-1``, if F is
  continuously differentiable at x;
* (inversion influence, Zhang et al. 2023, arXiv:2309.13016) the input whose gradient matches best moves, to
  first order in the noise w, by ``(J^T J)^-1 J^T w``, whose mean square is the same number.

So the first is what matching attacks reach where the noise is small. **Neither protects anybody**: images are
bounded, attackers have priors, and an estimator that uses either is biased: always to guess grey has a finite
error however large the noise. With several examples in the release, the others are taken to be known.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from clifftop.audit.inversion.attack import CannotInvert
from clifftop.audit.inversion.model import AttackedModel, Gradient
from clifftop.plan import PrivacyPlan

SINGULAR = 1e-24
"""An eigenvalue below this share of the largest counts as 0: they are squares of singular values of J."""

ASSUMPTIONS = (
    "the estimator is unbiased near this input: it uses neither a prior nor the range of pixels",
    "the clipped gradient is continuously differentiable at this input, and its target is known",
)


@final
@dataclass(frozen=True, kw_only=True)
class Influence:
    """The clipped gradient as a function of one input, to first order; a heuristic, see `ASSUMPTIONS`.

    Attributes:
        gram: ``J^T J``, ``(D, D)``, float64.
        jacobian: J, ``(P, D)``, float64, rows in the order of the parameters.
        eigenvalues: of ``gram``, rising, ``(D,)``; from the singular values of J, whose squares would be lost
            in the rounding of ``gram`` below 1e-16 of the largest.
    """

    gram: Tensor
    jacobian: Tensor
    eigenvalues: Tensor

    @property
    def rank(self) -> int:
        """In how many directions the input shows in the gradient."""
        return int((self.eigenvalues > SINGULAR * self.eigenvalues[-1]).sum())

    def mean_squared_error(self, *, noise_std: float) -> float:
        """The least mean squared error, of a pixel, of an unbiased estimator.

        Infinite where J is not of full rank.

        Args:
            noise_std: of each number of the release, `Release.noise_std`.
        """
        if noise_std == 0:
            return 0.0
        if self.rank < len(self.eigenvalues):
            return math.inf
        return float(noise_std**2 * (1.0 / self.eigenvalues).mean())

    def shift(self, noise: Gradient) -> Tensor:
        """How far the best match moves with this noise, to first order: ``(D,)``."""
        flat = torch.cat([value.flatten() for value in noise.values()]).double()
        return torch.linalg.lstsq(self.jacobian, flat[:, None]).solution[:, 0]


def influence(model: AttackedModel, inputs: Tensor, targets: Tensor, plan: PrivacyPlan) -> Influence:
    """The Jacobian of what a step releases of one example, column by column, and its eigenvalues.

    In float64, whatever the model's own type. It costs D products with J and ``8 P D`` bytes.

    Args:
        model: the model.
        inputs: one example, ``(1, *input_shape)``.
        targets: its target, ``(1, ...)``.
        plan: what clips and divides.

    Raises:
        CannotInvert: not one example.
    """
    if len(inputs) != 1:
        raise CannotInvert(f"influence is of one example, found {len(inputs)}; give inputs[i : i + 1]")
    wide = AttackedModel(
        module=copy.deepcopy(model.module).double(),
        criterion=model.criterion,
        input_shape=model.input_shape,
        num_classes=model.num_classes,
    )
    at = inputs.detach().double().requires_grad_()
    grads = wide.gradients(at, targets.double() if targets.is_floating_point() else targets, plan)
    flat = torch.cat([value.flatten() for value in grads.values()])
    # The product with J^T is linear in what it is given, so its own derivative is the product with J.
    free = torch.zeros_like(flat, requires_grad=True)
    (pulled,) = torch.autograd.grad(flat, [at], free, create_graph=True)
    basis = torch.eye(at.numel(), dtype=torch.float64, device=at.device)
    columns = [torch.autograd.grad(pulled, [free], unit.view_as(at), retain_graph=True)[0] for unit in basis]
    jacobian = torch.stack(columns, 1)
    singular = torch.linalg.svdvals(jacobian).flip(0)
    missing = jacobian.shape[1] - len(singular)  # where there are fewer parameters than numbers of an input
    eigenvalues = torch.nn.functional.pad(singular.square(), (missing, 0))
    return Influence(gram=jacobian.T @ jacobian, jacobian=jacobian, eigenvalues=eigenvalues)
