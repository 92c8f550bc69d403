"""The motion of one trial on a cubic spline, cut into chunks with a reference orientation each."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import interp1d
from scipy.spatial.transform import Rotation

from biomech_fit.core.linear import ORDER
from biomech_fit.offline.trial import Trial

_SAME_CHART_RAD = 0.5
"""A chunk whose orientation is nearer than this to its predecessor's reference has the same reference."""


class SplineMotion:
    """Control points of a whole trial.

    Args:
        trial: with the first guess that the spline starts from.
        spacing_s: between knots.
        own: control points of one chunk that are its own.
        free_root: whether coordinates 3 to 5 are a rotation vector.
    """

    def __init__(self, trial: Trial, spacing_s: float, own: int, free_root: bool):
        self.spacing_s, self.own, self._free_root = spacing_s, own, free_root
        self.u = trial.time_s / spacing_s
        """(T,) the frames' places in knot spacings."""
        intervals = int(np.floor(self.u[-1])) + 1
        self.chunks = int(np.ceil(intervals / own))
        self.active = np.arange(self.chunks * own + ORDER) < intervals + ORDER
        """(Q,) control points that carry frames; those behind the end are only there to fill the last chunk."""
        self._first = np.minimum(np.floor(self.u), intervals - 1).astype(int) // own
        # Control point q lies at u = q - 1 (Schoenberg's approximation).
        place = np.clip(np.arange(len(self.active)) - 1.0, 0.0, self.u[-1])
        several = len(self.u) > 1
        self.control = interp1d(self.u, trial.guess, axis=0)(place) if several else np.repeat(trial.guess, len(place), 0)
        self.reference = np.tile(np.eye(3), (self.chunks, 1, 1))
        if free_root:
            nearest = np.clip(np.searchsorted(self.u, place), 0, len(self.u) - 1)
            turns = trial.turn[nearest]
            self._choose_references(turns)
            relative = np.swapaxes(self.reference[self._chart()], 1, 2) @ turns
            self.control[:, 3:6] = self._connected(Rotation.from_matrix(relative).as_rotvec())
        self.last_step = np.zeros_like(self.control)

    def frames(self, chunk: int) -> np.ndarray:
        """Indices of a chunk's frames."""
        return np.flatnonzero(self._first == chunk)

    def place(self, chunk: int) -> np.ndarray:
        """(T_chunk,) the frames' places since the chunk's start."""
        return self.u[self.frames(chunk)] - chunk * self.own

    def is_last(self, chunk: int) -> bool:
        return chunk == self.chunks - 1

    def same_chart(self, chunk: int) -> bool:
        """Whether the next chunk has the same reference."""
        return self.is_last(chunk) or np.array_equal(self.reference[chunk], self.reference[chunk + 1])

    def local(self, chunk: int) -> np.ndarray:
        """(own + ORDER, N) the chunk's control points in its own chart."""
        points = self.control[chunk * self.own : (chunk + 1) * self.own + ORDER].copy()
        if not self.same_chart(chunk):
            turn = Rotation.from_matrix(self.reference[chunk].T @ self.reference[chunk + 1])
            points[-ORDER:, 3:6] = (turn * Rotation.from_rotvec(points[-ORDER:, 3:6])).as_rotvec()
            for q in range(len(points) - ORDER, len(points)):
                points[q, 3:6] = _near(points[q, 3:6], points[q - 1, 3:6])
        return points

    def sites_s(self) -> np.ndarray:
        """(Q + 2,) times since the first frame of the motion that `take` wants: where the control points lie, and one more at each end."""
        return self.spacing_s * np.clip(np.arange(len(self.active) + 2) - 2.0, -2.0, np.floor(self.u[-1]) + 3.0)

    def take(self, x: np.ndarray, turn: np.ndarray | None) -> None:
        """Follow a motion that is given at `sites_s`: coordinates (Q + 2, N), and with a free root its orientations (Q + 2, 3, 3).

        A cubic quasi-interpolant, c = (-f_before + 8 f - f_behind) / 6, exact for cubics (de Boor & Fix 1973); each control point in its own chart.
        """
        triples = np.stack([x[:-2], x[1:-1], x[2:]])
        if turn is not None:
            inverse = np.swapaxes(self.reference[self._chart()], 1, 2)
            before, at, behind = (Rotation.from_matrix(inverse @ t).as_rotvec() for t in (turn[:-2], turn[1:-1], turn[2:]))
            at = self._connected(at)
            triples[:, :, 3:6] = _near(before, at), at, _near(behind, at)
        self.control = (8 * triples[1] - triples[0] - triples[2]) / 6
        self.last_step = np.zeros_like(self.control)

    def move(self, step: np.ndarray) -> None:
        """A Gauss-Newton step (Q, N), each control point's in the chart it is kept in. Steps that turn back on themselves are halved, as in the window."""
        step = np.where(self.last_step * step < 0, 0.5 * step, step)
        self.control += step
        self.last_step = step

    def _connected(self, vectors: np.ndarray) -> np.ndarray:
        """The same rotations (Q, 3), of each chunk's from its middle outwards the vectors that are nearest to one another: a spin of more than half a turn goes
        on instead of jumping to the other side."""
        out, chart = vectors.copy(), self._chart()
        for chunk in range(self.chunks):
            own = np.flatnonzero(chart == chunk)
            middle = own[min(self.own // 2, len(own) - 1)]
            for q in range(middle + 1, own[-1] + 1):
                out[q] = _near(out[q], out[q - 1])
            for q in range(middle - 1, own[0] - 1, -1):
                out[q] = _near(out[q], out[q + 1])
        return out

    def _chart(self) -> np.ndarray:
        """(Q,) the chunk in whose chart each control point is kept."""
        return np.minimum(np.arange(len(self.active)) // self.own, self.chunks - 1)

    def _choose_references(self, turns: np.ndarray) -> None:
        way = np.cumsum(np.r_[0.0, Rotation.from_matrix(np.swapaxes(turns[:-1], 1, 2) @ turns[1:]).magnitude()]) if len(turns) > 1 else np.zeros(1)
        last = 0
        for chunk in range(self.chunks):
            at = min(chunk * self.own + self.own // 2, len(turns) - 1)
            before = self.reference[chunk - 1]
            near = chunk > 0 and Rotation.from_matrix(before.T @ turns[at]).magnitude() < _SAME_CHART_RAD
            # Who has gone round meanwhile is not where he was, on the way of the vectors.
            self.reference[chunk] = before if near and way[at] - way[last] < np.pi else turns[at]
            last = at


def _near(vectors: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), or those within a whole turn of the same rotations, whichever are nearer to `towards`."""
    size = np.linalg.norm(vectors, axis=-1, keepdims=True)
    others = vectors * (1 - 2 * np.pi / np.maximum(size, 1e-6))
    nearer = np.sum((others - towards) ** 2, -1, keepdims=True) < np.sum((vectors - towards) ** 2, -1, keepdims=True)
    return np.where(nearer & (size > 0.1), others, vectors)
