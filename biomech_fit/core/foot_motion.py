"""Position and velocity of a foot's heel and toe from their samples: local polynomials (Savitzky & Golay 1964, for any spacing of the samples)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from math import hypot

import numpy as np

HEEL, TOE = 0, 1
_ROOM = 512
"""Samples kept; a quarter of them stays when the rest is dropped."""
_KERNELS = 256
_START_NOISE_M = 0.002


@dataclass(eq=False, slots=True)
class FootSample:
    """A foot at one instant, in axes whose third is the vertical. Index 0 is the heel, 1 the toe."""

    t: float
    """s since the buffer's epoch."""
    position: list[float]
    """(6,) m: heel x y z, toe x y z."""
    velocity: list[float]
    """(6,) m/s in the world."""
    speed_std: float
    """m/s, of one component of the velocity, from the residuals of the polynomials."""
    flat: tuple[float, float] = (0.0, 0.0)
    """m/s, horizontal speeds of heel and toe relative to what they stand on."""
    speed: tuple[float, float] = (0.0, 0.0)
    """m/s, the same with the vertical part."""

    def relate(self, floor: tuple[float, float]) -> None:
        """Sets the speeds relative to a floor that moves with (2,) m/s."""
        v = self.velocity
        heel, toe = hypot(v[0] - floor[0], v[1] - floor[1]), hypot(v[3] - floor[0], v[4] - floor[1])
        self.flat = (heel, toe)
        self.speed = (hypot(heel, v[2]), hypot(toe, v[5]))

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
        self._half = smoothing_s / 2
        self._kernels: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray, float]] = {}
        self._noise = _START_NOISE_M
        self.clear()

    def clear(self) -> None:
        """Forgets all samples; what was learned of the noise stays."""
        self._times: list[float] = []
        self._data = np.empty((_ROOM, 6))
        self._next = 0

    @property
    def newest(self) -> float | None:
        """s, time of the last sample taken."""
        return self._times[-1] if self._times else None

    def add(self, t: float, heel: np.ndarray, toe: np.ndarray) -> list[FootSample]:
        """The instants whose smoothing length is now full."""
        if len(self._times) == _ROOM:
            keep = _ROOM // 4
            self._data[:keep] = self._data[_ROOM - keep :]
            del self._times[: _ROOM - keep]
            self._next -= _ROOM - keep
        n = len(self._times)
        self._data[n, :3], self._data[n, 3:] = heel, toe
        self._times.append(t)
        spacing = t - self._times[n - 1] if n else 0.0
        return self._ready(t + 0.5 * spacing - self._half)  # no further sample falls into the half length

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
        kernel, residual, gain = self._kernel(tuple([round((x - t) * 5000) for x in times[low:high]]))
        data = self._data[low:high]
        fit = kernel @ data
        if len(residual):
            self._noise += 0.02 * (float(np.abs(residual @ data).mean()) * 1.25 - self._noise)
        values = fit.tolist()
        return FootSample(t, values[0], values[1], self._noise * gain)

    def _kernel(self, offsets: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
        """Weights of the samples at these offsets (in 0.2 ms) in position and velocity at 0; in standardised residuals; and the velocity's noise gain."""
        if offsets not in self._kernels:
            if len(self._kernels) >= _KERNELS:
                self._kernels.clear()
            x = np.array(offsets) / 5000
            two_sided = min(-x[0], x[-1]) > 0.6 * self._half
            order = min(3 if two_sided and len(x) >= 6 else 2, len(x) - 1) if two_sided or len(x) >= 5 else 1
            scale = max(-x[0], x[-1])
            basis = (x[:, None] / scale) ** np.arange(order + 1)
            inverse = np.linalg.pinv(basis)
            kernel = np.stack([inverse[0], inverse[1] / scale])
            projector = np.eye(len(x)) - basis @ inverse
            size = np.sqrt(np.maximum(projector.diagonal(), 0.0))
            kept = size > 0.3
            self._kernels[offsets] = kernel, projector[kept] / size[kept, None], float(np.linalg.norm(kernel[1]))
        return self._kernels[offsets]
