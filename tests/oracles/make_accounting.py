"""Freeze reference epsilons of Poisson-subsampled Gaussians, computed with mpmath at 40 digits.

Run as ``python tests/oracles/make_accounting.py`` (minutes; quicker with gmpy2 installed); it writes
``accounting.json`` beside itself. It shares no code with the package. Three methods:

* one step: closed forms of the hockey-stick divergence;
* two steps: the closed form integrated over the other step's loss, in real space;
* many steps: the contour integral of the moment generating function, with no smoothing. It is computed
  on two contours, whose trapezoidal sums have different nodes and errors, and frozen only where the two
  agree to 16 digits.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from mpmath import mp, mpc, mpf

mp.dps = 40
AGREEMENT = mpf(10) ** -16

ONE_STEP = [  # sigma, q, delta
    ("1", "0.16", "1e-5"), ("1", "0.01", "1e-5"), ("0.5", "0.16", "1e-8"), ("2", "0.5", "1e-3"),
    ("5", "0.9", "1e-6"), ("0.3", "0.001", "1e-5"), ("10", "0.05", "1e-4"), ("0.1", "0.2", "1e-12"),
]  # fmt: skip
TWO_STEPS = [
    ("1", "0.16", "1e-5"), ("0.7", "0.01", "1e-6"), ("2", "0.5", "1e-9"), ("0.4", "0.05", "1e-4"),
    ("6", "0.8", "1e-5"),
]  # fmt: skip
MANY_STEPS = [  # sigma, q, steps, delta
    ("0.5", "0.16", 140, "1e-5"), ("1", "0.16", 140, "1e-5"), ("2", "0.16", 140, "1e-5"),
    ("5", "0.16", 140, "1e-5"), ("10", "0.16", 140, "1e-5"), ("0.1", "0.16", 140, "1e-5"),
    ("0.8", "0.01", 10_000, "1e-5"), ("0.6", "0.001", 100_000, "1e-5"), ("2", "0.05", 2000, "1e-5"),
    ("0.3", "0.0001", 1_000_000, "1e-5"), ("1", "0.001", 10_000_000, "1e-5"),
    ("0.3", "0.0001", 1_000_000, "1e-12"), ("2", "0.05", 2000, "1e-12"), ("2", "0.05", 2000, "1e-10"),
    ("1", "0.16", 140, "1e-14"), ("1", "0.16", 140, "1e-12"), ("0.8", "0.01", 10_000, "1e-13"),
    ("100", "0.01", 1000, "1e-5"), ("100", "0.5", 10_000, "1e-9"), ("20", "0.3", 100, "1e-6"),
    ("1.5", "0.5", 500, "1e-6"), ("0.9", "0.05", 300, "0.01"), ("3", "0.9", 40, "1e-8"),
    ("0.2", "0.5", 30, "1e-9"),
    ("0.7", "0.002", 50_000, "1e-14"), ("1.1", "0.004", 20_000, "1e-7"), ("4", "0.02", 5000, "1e-6"),
    ("8", "0.001", 1_000_000, "1e-5"), ("30", "0.99", 1000, "1e-10"), ("50", "0.2", 20_000, "0.3"),
    ("1", "0.0001", 1_000_000_000, "1e-5"), ("2", "0.001", 100_000_000, "1e-14"),
    ("1.3", "0.25", 64, "1e-5"), ("0.85", "0.03", 1500, "1e-9"), ("2.5", "0.7", 250, "1e-4"),
]  # fmt: skip
RELATIONS = ("add_or_remove_one", "replace_one")


def normal_tail(u: mpf) -> mpf:
    return mp.erfc(u / mp.sqrt(2)) / 2


def losses(direction: str, sigma: mpf, q: mpf) -> tuple[Callable, Callable, Callable]:
    """``(P / n, Q / n, L)`` as functions of u, n the standard normal density."""

    def mixture(u):
        return 1 - q + q * mp.exp(u / sigma - 1 / (2 * sigma**2))

    def one(_):
        return mpf(1)

    p, r = {
        "remove": (mixture, one),
        "add": (one, mixture),
        "replace": (mixture, lambda u: mixture(-u)),
    }[direction]
    return p, r, lambda u: mp.log(p(u) / r(u))


def edge(direction: str, sigma: mpf, q: mpf, epsilon: mpf) -> mpf | None:
    """Where the loss, which is monotone in u, equals epsilon; None if nowhere."""
    alpha = mp.exp(epsilon)
    shift = 1 / (2 * sigma**2)
    if direction == "replace":
        k = q * mp.exp(-shift)
        b = (1 - q) * (1 - alpha)
        return sigma * mp.log((-b + mp.sqrt(b * b + 4 * k * k * alpha)) / (2 * k))
    w = alpha if direction == "remove" else 1 / alpha
    return sigma * (mp.log((w - 1 + q) / q) + shift) if w > 1 - q else None


def one_step_delta(direction: str, sigma: mpf, q: mpf, epsilon: mpf) -> mpf:
    """``H_{e^eps}(P || Q)``, for any real epsilon: the set L > eps is a half-line."""
    alpha = mp.exp(epsilon)
    u = edge(direction, sigma, q, epsilon)

    def mixture_tail(u, centre):
        return (1 - q) * normal_tail(u) + q * normal_tail(u - centre)

    if direction == "replace":
        return mixture_tail(u, 1 / sigma) - alpha * mixture_tail(u, -1 / sigma)
    if direction == "remove":
        return 1 - alpha if u is None else mixture_tail(u, 1 / sigma) - alpha * normal_tail(u)
    return mpf(0) if u is None else normal_tail(-u) - alpha * mixture_tail(-u, -1 / sigma)


def two_step_delta(direction: str, sigma: mpf, q: mpf, epsilon: mpf, panels: int = 1) -> mpf:
    """The other step integrated out by Gauss and Legendre, on panels that crowd where the integrand turns.

    That is where the inner epsilon passes 0, within about q, and where the inner delta starts to vanish
    or to be ``1 - e^eps``.
    """
    p, _, loss = losses(direction, sigma, q)
    breaks = [mpf(x) / panels for x in range(-13 * panels, 13 * panels + 1)]
    breaks += [x + 1 / sigma for x in breaks] if sigma < 1 else []
    corner = {"remove": epsilon - mp.log(1 - q), "add": epsilon + mp.log(1 - q), "replace": epsilon}[
        direction
    ]
    turns = [edge(direction, sigma, q, at) for at in (epsilon, corner)]
    offsets = [mpf(2) ** (mpf(-k) / panels) for k in range(12 * panels)]
    for turn in turns:
        if turn is not None:
            breaks += [turn, *(turn + sign * x for x in offsets for sign in (-1, 1))]

    def inner(u):
        return mp.npdf(u) * p(u) * one_step_delta(direction, sigma, q, epsilon - loss(u))

    points = sorted({mpf(x) for x in breaks})
    return mp.quad(inner, points, method="gauss-legendre", maxdegree=4)


def solve(delta_of: Callable[[mpf], mpf], delta: mpf, high: mpf) -> mpf:
    """Where delta(eps) falls to ``delta``, found below ``high`` times a power of 2; 0 if it starts below.

    Secant steps on ln delta, halved into the bracket where they leave it or where delta is 0 in it.
    """
    if delta_of(mpf(0)) <= delta:
        return mpf(0)
    low = mpf(0)
    while delta_of(high) > delta:
        low, high = high, 2 * high
    last = point = None
    for _ in range(200):
        new = (low + high) / 2
        if last and point and last[1] != point[1]:
            secant = point[0] - point[1] * (point[0] - last[0]) / (point[1] - last[1])
            new = secant if low < secant < high else new
        value = delta_of(new)
        if point and abs(new - point[0]) <= abs(new) * mpf(10) ** (6 - mp.dps):
            return new
        low, high = (new, high) if value > delta else (low, new)
        last, point = point, (new, mp.log(value / delta)) if value > 0 else None
    raise RuntimeError(f"no root found between {low} and {high}")


class Contour:
    """delta(eps) by the plain trapezoidal rule on the line of real part ``tilt``."""

    def __init__(self, direction: str, sigma: mpf, q: mpf, steps: int, tilt: mpf, step_y: mpf) -> None:
        p, _, loss = losses(direction, sigma, q)
        mesh = self._mesh(sigma, tilt)
        reach = (1 + 2 * tilt) / sigma + 15
        count = int(reach / mesh) + 1
        nodes = []
        for j in range(-count, count + 1):
            u = j * mesh
            weight = mp.exp(-u * u / 2 + mp.log(p(u)) + tilt * loss(u))
            nodes.append((weight, loss(u)))
        top = max(w for w, _ in nodes)
        nodes = [(w, x) for w, x in nodes if w > top * mpf(10) ** -28]
        total = mp.fsum(w for w, _ in nodes)
        self.scale = steps * mp.log(total * mesh / mp.sqrt(2 * mp.pi))
        self.tilt, self.step_y = tilt, step_y
        turns = [mp.expj(step_y * x) for _, x in nodes]
        current = [mpc(w / total) for w, _ in nodes]
        self.terms = []
        last_large = 0
        for k in range(12_000):
            z = mpc(tilt, k * step_y)
            value = mp.fsum(current) ** steps / (z * (z + 1))
            self.terms.append(value / 2 if k == 0 else value)
            # Small noise makes the loss nearly a lattice, and the integrand rise again: look far ahead.
            if abs(value) > mpf(10) ** -20 * abs(self.terms[0]):
                last_large = k
            elif k > 2 * last_large + 20:
                break
            current = [a * b for a, b in zip(current, turns, strict=True)]
        else:
            raise RuntimeError("the integrand decays too slowly for this method")

    @staticmethod
    def _mesh(sigma: mpf, tilt: mpf) -> mpf:
        """Small enough for an error of 1e-26, by the strip of half-width a around the real axis."""
        a = min(3 * sigma, mpf(9))
        growth = a * a / 2 - tilt * mp.log(mp.cos(a / (2 * sigma)))
        return 2 * mp.pi * a / (60 + growth + 4 * a / sigma)

    def delta(self, epsilon: mpf) -> mpf:
        turn = mp.expj(-self.step_y * epsilon)
        phase, total = mpc(1), mpf(0)
        for term in self.terms:
            total += (term * phase).real
            phase *= turn
        return mp.exp(self.scale - self.tilt * epsilon) * total * self.step_y / mp.pi


def rough_tilt(direction: str, sigma: mpf, q: mpf, steps: int, delta: mpf) -> tuple[mpf, mpf]:
    """The tilt and value of the Renyi bound, from a coarse sum."""
    p, _, loss = losses(direction, sigma, q)
    low, high = -14, 14 + 10 / sigma
    count = int((high - low) / min(mpf("0.4"), sigma))
    grid = [low + (high - low) * mpf(j) / count for j in range(count)]
    table = [(u, mp.log(p(u)), loss(u)) for u in grid]

    def bound(c):
        values = [mp.exp(-u * u / 2 + lp + c * x) for u, lp, x in table]
        moment = mp.log(mp.fsum(values) * (grid[1] - grid[0]) / mp.sqrt(2 * mp.pi))
        return (steps * moment - mp.log(delta) + c * mp.log(c) - (1 + c) * mp.log(1 + c)) / c

    tilts = [mpf(2) ** (mpf(j) / 2) for j in range(-26, 22)]
    return min(((c, bound(c)) for c in tilts if c < 12 * sigma or c < 8), key=lambda pair: pair[1])


def many_step_epsilon(direction: str, sigma: mpf, q: mpf, steps: int, delta: mpf) -> mpf:
    precise = mp.dps
    mp.dps = 20
    tilt, ceiling = rough_tilt(direction, sigma, q, steps, delta)
    mp.dps = precise
    found = []
    for factor, finer in (("0.95", "5"), ("1.1", "7")):
        at = tilt * mpf(factor)
        # Wrapped terms are exp(-at * period) of delta = 1, wanted below 1e-26 delta.
        step_y = 2 * mp.pi * at / (62 - mp.log(delta)) / mpf(finer)
        contour = Contour(direction, sigma, q, steps, at, step_y)
        found.append(solve(contour.delta, delta, ceiling))
    if abs(found[0] - found[1]) > AGREEMENT * abs(found[0]):
        raise RuntimeError(f"two contours disagree: {found}")
    return found[0]


def both_directions(relation: str, steps: int, q: mpf, epsilon_of: Callable[[str], mpf]) -> mpf:
    """The larger epsilon; adding an example loses at most ``-steps ln(1 - q)``, which may settle it."""
    if relation != RELATIONS[0]:
        return epsilon_of("replace")
    remove = epsilon_of("remove")
    return remove if -steps * mp.log(1 - q) < remove else max(remove, epsilon_of("add"))


def entry(relation, sigma, q, steps, delta, method, epsilon) -> dict:
    value = mp.nstr(epsilon, 16)
    print(relation, sigma, q, steps, delta, value, flush=True)
    return {
        "neighboring_relation": relation,
        "noise_multiplier": float(sigma),
        "sampling_prob": float(q),
        "steps": steps,
        "delta": float(delta),
        "method": method,
        "epsilon": value,
    }


def exact(text: str) -> mpf:
    """The double that ``text`` stands for, which is what the package is asked about."""
    return mpf(float(text))


def make() -> list[dict]:
    rows = []
    for relation in RELATIONS:
        for steps, method, settings, delta_of in (
            (1, "closed form", ONE_STEP, one_step_delta),
            (2, "real-space integral", TWO_STEPS, two_step_delta),
        ):
            mp.dps = 40 if steps == 1 else 22
            for sigma, q, delta in settings:
                s, p, d = exact(sigma), exact(q), exact(delta)

                def epsilon_of(direction, s=s, p=p, d=d, delta_of=delta_of, steps=steps, relation=relation):
                    root = solve(lambda e: delta_of(direction, s, p, e), d, 1 / s)
                    if steps == 2 and abs(delta_of(direction, s, p, root, panels=2) / d - 1) > 1e-13:
                        raise RuntimeError(f"quadrature not settled: {relation} {s} {p} {d}")
                    return root

                rows.append(
                    entry(
                        relation,
                        sigma,
                        q,
                        steps,
                        delta,
                        method,
                        both_directions(relation, steps, p, epsilon_of),
                    )
                )
        mp.dps = 40
        for sigma, q, steps, delta in MANY_STEPS:
            s, p, d = exact(sigma), exact(q), exact(delta)

            def epsilon_of(direction, s=s, p=p, d=d, steps=steps):
                return many_step_epsilon(direction, s, p, steps, d)

            try:
                value = both_directions(relation, steps, p, epsilon_of)
            except RuntimeError as refusal:
                print("left out:", relation, sigma, q, steps, delta, refusal, flush=True)
                continue
            rows.append(entry(relation, sigma, q, steps, delta, "contour", value))
    return rows


if __name__ == "__main__":
    target = Path(__file__).with_name("accounting.json")
    rows = make()
    document = {"made_by": "tests/oracles/make_accounting.py", "digits": 16, "epsilons": rows}
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(rows)} values\n")
