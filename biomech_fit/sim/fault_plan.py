"""Random faults one after another, for stress tests: `plan_faults`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from biomech_fit.sim.faults import ALL, Away, ClockStep, Duplicates, Fault, Lag, Late, Loss, Reordered, Silent, Stranger, Swaps

Draw = Callable[[np.random.Generator, int, float, float], Fault]
"""From random numbers, a camera, beginning and end."""

SHORTEST_S, LONGEST_S, EXTRA_PAUSE_S = 0.5, 4.0, 1.0
MEAN_LENGTH_S = 0.5 * (SHORTEST_S + LONGEST_S)

KINDS: dict[str, Draw] = {
    "silent": lambda rng, camera, a, b: Silent(camera, a, b),
    "loss": lambda rng, camera, a, b: Loss(ALL, a, b, share=0.2),
    "swaps": lambda rng, camera, a, b: Swaps(camera, a, b, share=rng.uniform(0.5, 1.0)),
    "away": lambda rng, camera, a, b: Away(ALL, a, b),
    "clock_step": lambda rng, camera, a, b: ClockStep(camera, a, b, step_s=_either_sign(rng, 0.002, 0.04)),
    "clock_jump": lambda rng, camera, a, b: ClockStep(ALL, a, b, step_s=_either_sign(rng, 0.1, 3.0)),
    "lag": lambda rng, camera, a, b: Lag(camera, a, b, lag_s=rng.uniform(0.005, 0.04)),
    "stranger": lambda rng, camera, a, b: Stranger(camera, a, b),
    "duplicates": lambda rng, camera, a, b: Duplicates(ALL, a, b, share=0.2),
    "late": lambda rng, camera, a, b: Late(camera, a, b, share=0.5, delay_s=rng.uniform(0.01, 0.12)),
    "reordered": lambda rng, camera, a, b: Reordered(camera, a, b, share=0.2),
}
"""clock_step = of one camera, up to 40 ms; clock_jump = of all at once, up to 3 s."""


def _either_sign(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.choice((-1.0, 1.0)) * rng.uniform(low, high))


def plan_faults(
    rng: np.random.Generator,
    seconds: float,
    cameras: int,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    first_s: float = 2.0,
    pause_s: float = 2.0,
    pair_share: float = 0.2,
) -> tuple[Fault, ...]:
    """Faults of the kinds (names of `KINDS`) in random order, each kind as often as the others, for 0.5 to 4 s each.

    The first begins after `first_s`; between them and before the end lie `pause_s` at least, between them a second more in the mean. A `pair_share` of
    them come with one of another kind at the same time, in another camera.
    """
    plan: list[Fault] = []
    now, waiting = first_s, []
    while True:
        length = rng.uniform(SHORTEST_S, LONGEST_S)
        if now + length > seconds - pause_s:
            return tuple(plan)
        if len(waiting) < 2:
            waiting += [kinds[i] for i in rng.permutation(len(kinds))]
        together = 1 + int(rng.random() < pair_share and len({*waiting[:2]}) == 2)
        affected = rng.choice(cameras, min(together, cameras), replace=False)
        for camera in affected:
            plan.append(KINDS[waiting.pop(0)](rng, int(camera), now, now + length))
        now += length + pause_s + rng.exponential(EXTRA_PAUSE_S)
