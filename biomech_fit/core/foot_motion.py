"""Position and velocity of a foot's heel and toe from their samples: local polynomials (Savitzky & Golay 1964, for any spacing of the samples)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

HEEL, TOE = 0, 1
_ROOM = 512
"""Samples kept; a quarter of them stays when the rest is dropped."""
_KERNELS = 256
_NOISE_EVERY = 3
"""Instants from one look at the residuals to the next."""
_NOISY_M = 0.0013
"""Markers have 0.1 to 0.3 mm of noise beside a cubic, a body fitted with the future 0.5 mm, one without 1.6 mm."""
_LEAST_SIDE = 2.0
"""Samples on either side of an instant."""
_START_NOISE_M = 0.002


@dataclass(eq=False, slots=True)
class FootSample:
    """A foot at one instant, in axes whose third is the vertical. Index 0 is the heel, 1 the toe."""

    t: float
    """s since the buffer's epoch."""
    position: list[float]
    """(6,) m: heel x y z, toe x y z."""
    velocity: list[float]
    """(6,) m/s in the world, for times: from a cubic, which follows a contact, where the points allow it."""
    calm: list[float]
    """(6,) m/s, the same from a parabola, with a third of the noise: for what the foot is doing."""
    velocity_std: float
    """m/s, of one component, from the residuals of the polynomials."""
    calm_std: float
    flat: tuple[float, float] = (0.0, 0.0)
    """m/s, horizontal speeds of heel and toe relative to what they stand on."""
    speed: tuple[float, float] = (0.0, 0.0)
    """m/s, the same with the vertical part."""
    calm_speed: tuple[float, float] = (0.0, 0.0)
    """m/s, with the vertical part, of the calm velocity."""

    def relate(self, floor: tuple[float, float]) -> None:
        """Sets the speeds relative to a floor that moves with (2,) m/s."""
        v, c = self.velocity, self.calm
        heel, toe = hypot(v[0] - floor[0], v[1] - floor[1]), hypot(v[3] - floor[0], v[4] - floor[1])
        self.flat = (heel, toe)
        self.speed = (hypot(heel, v[2]), hypot(toe, v[5]))
        self.calm_speed = (hypot(c[0] - floor[0], c[1] - floor[1], c[2]), hypot(c[3] - floor[0], c[4] - floor[1], c[5]))

    @property
    def middle(self) -> float:
        """m/s, mean horizontal speed of heel and toe."""
        return 0.5 * (self.flat[0] + self.flat[1])

    @property
    def slowest(self) -> float:
        """m/s, horizontal speed of the slower point."""
        return min(self.flat)


class FootMotion:
    """Takes heel and toe in increasing time and gives their smoothed motion, half a smoothing length later."""

    def __init__(self, smoothing_s: float) -> None:
        self._shortest = self._half = smoothing_s / 2
        self._kernels: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray, float, float]] = {}
        self._noise = _START_NOISE_M
        self.clear()

    def clear(self) -> None:
        """Forgets all samples; what was learned of the noise stays."""
        self._times: list[float] = []
        self._data = np.empty((_ROOM, 6))
        self._next = 0
        self._spacing = 0.0

    @property
    def smoothing_s(self) -> float:
        """s, length of cubics that would round a bend as much: a parabola rounds it more."""
        return 2 * self._half * (1 + 0.8 * self._calm_share) ** 0.5

    @property
    def newest(self) -> float | None:
        """s, time of the last sample taken."""
        return self._times[-1] if self._times else None

    def add(self, t: float, heel: Sequence[float], toe: Sequence[float]) -> list[FootSample]:
        """The instants whose smoothing length is now full."""
        if len(self._times) == _ROOM:
            keep = _ROOM // 4
            self._data[:keep] = self._data[_ROOM - keep :]
            del self._times[: _ROOM - keep]
            self._next -= _ROOM - keep
        n = len(self._times)
        self._data[n] = (*heel, *toe)
        self._times.append(t)
        if n:
            spacing = t - self._times[n - 1]
            self._spacing += (0.1 if self._spacing else 1.0) * (spacing - self._spacing)
            self._half = max(self._shortest, _LEAST_SIDE * self._spacing)
        return self._ready(t + 0.5 * self._spacing - self._half)  # no further sample falls into the half length

    def rest(self) -> list[FootSample]:
        """What is left at the end of a recording: instants whose smoothing length lacks its later half."""
        return self._ready(np.inf)

    def _ready(self, due: float) -> list[FootSample]:
        done = []
        while self._next < len(self._times) and self._times[self._next] <= due and len(self._times) > 2:
            done.append(self._sample(self._next))
            self._next += 1
        return done

    def _sample(self, i: int) -> FootSample:
        times, t = self._times, self._times[i]
        low, high = bisect_left(times, t - self._half - 1e-4), bisect_right(times, t + self._half + 1e-4)
        while high - low < 3:
            low, high = max(low - 1, 0), min(high + 1, len(times))
        kernel, residual, gain, calm_gain = self._kernel(tuple([round((x - t) * 5000) for x in times[low:high]]))
        near = self._data[low:high]
        position, fine, calm = kernel.dot(near).tolist()  # `@` takes twice as long for so few
        if self._next % _NOISE_EVERY == 0 and len(residual):
            self._noise += 0.02 * _NOISE_EVERY * (1.25 * float(np.abs(residual.dot(near)).sum()) / (6 * len(residual)) - self._noise)
        w = self._calm_share
        velocity = [a + w * (b - a) for a, b in zip(fine, calm, strict=True)]
        return FootSample(t, position, velocity, calm, self._noise * (gain + w * (calm_gain - gain)), self._noise * calm_gain)

    @property
    def _calm_share(self) -> float:
        """The noisier the points, the more the parabola counts."""
        return self._noise**2 / (self._noise**2 + _NOISY_M**2)

    def _kernel(self, offsets: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Weights of the samples at these offsets (in 0.2 ms) in position and velocities at 0; those in the standardised residuals; gains of the velocities."""
        if offsets not in self._kernels:
            if len(self._kernels) >= _KERNELS:
                self._kernels.clear()
            x = np.array(offsets) / 5000
            scale = max(-x[0], x[-1])
            two_sided = min(-x[0], x[-1]) > 0.6 * self._half
            plain = min(2 if two_sided or len(x) >= 5 else 1, len(x) - 1)
            fine = 3 if two_sided and len(x) >= 5 else plain
            basis = (x[:, None] / scale) ** np.arange(fine + 1)
            inverse = np.linalg.pinv(basis)
            calm = np.linalg.pinv(basis[:, : plain + 1])[1]
            projector = np.eye(len(x)) - basis @ inverse
            size = np.sqrt(np.maximum(projector.diagonal(), 0.0))
            kept = size > 0.3
            kernel, residual = np.stack([inverse[0], inverse[1] / scale, calm / scale]), projector[kept] / size[kept, None]
            self._kernels[offsets] = kernel, residual, float(np.linalg.norm(inverse[1]) / scale), float(np.linalg.norm(calm) / scale)
        return self._kernels[offsets]
