"""Inverse kinematics of a `Linkage`: the coordinates of every frame that bring its markers nearest to measured ones (numpy, all frames of a block at once).

Gauss-Newton steps on `MarkerCost` with Levenberg-Marquardt damping for each frame, bounds by an active set (Bertsekas 1982: a coordinate at its bound whose
gradient points outwards does not take part).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import make_interp_spline

from biomech_fit.core.marker_cost import MarkerCost

TOLERANCE = 1e-4
"""rad, m: a frame is done with the step after which no coordinate is expected to move further: by this step times theta / (1 - theta), theta being its share
of the step before (Hairer and Wanner, Solving Ordinary Differential Equations II, 1996, ch. IV.8)."""
COST_TOLERANCE = 1e-8
"""Nor is a step taken that lowers the cost by less than this share: some angles hardly move a marker (upper arm rotation, elbow straight)."""
MAX_ITERATIONS = 60
BLOCK_FRAMES = 256
"""Frames solved together: enough for numpy's overhead not to count, few enough for the caches."""
STRIDE = 6
"""Every so many frames is solved first, from the last block; those between start from the interpolation."""
_LEFT = 0.25
"""When no more than this share of the first ones still moves, it goes on with those between: a step of few frames costs nearly as much as one of many."""
_POOR = 2.0
_POOR_M = 1e-3
"""A frame whose error is above 2 medians plus 1 mm is tried again from its neighbours."""
_LOST = 0.06
"""Above this share of the markers' spread the root's orientation is searched for."""
_SEARCH_ITERATIONS, _SEARCH_KEEPS = 8, 6
"""Of all starts of the search, those that are best after a few steps go on."""
_TURNED = 0.1
"""A frame starts turned round where that leaves less than this share of the squared distances: beyond about 150 degrees. The way from less is found."""
_SLACK_M = 1e-4
"""Errors that differ by less are equal."""
_DAMPING, _MIN_DAMPING, _MAX_DAMPING = 1e-5, 1e-9, 1e8
_POOR_DAMPING = 0.1
"""At least this after a step that gained less than a quarter of what it promised: with centimetres of error undamped steps swing about the optimum."""


@dataclass(frozen=True, eq=False)
class IkSolution:
    coordinates: np.ndarray
    """(T, N) all coordinates of the linkage, rad and m; NaN in frames without a marker."""
    rms_m: np.ndarray
    """(T,) weighted root mean square distance of the markers."""
    markers_seen: np.ndarray
    """(T,) how many had a position and a weight."""
    converged: np.ndarray
    """(T,) bool."""
    iterations: float
    """Mean number of steps per frame, restarts included."""


class MarkerIk(MarkerCost):
    """A linkage prepared for measured markers of given names, and the way down to its cost's least."""

    def solve(self, points: np.ndarray) -> IkSolution:
        """Coordinates of measured markers (T, K, 3), m, in OpenSim's ground; NaN = missing. Frames are taken as neighbours in time."""
        points = np.asarray(points, float)[:, self.columns]
        seen = np.isfinite(points).all(-1)
        frames = np.flatnonzero(seen.any(1))
        run = _Run(self, np.where(seen[..., None], points, 0.0)[frames], seen[frames] * self._weights, frames)
        start = np.clip(self.linkage.default[self.linkage.free], self._lower, self._upper)
        for begin in range(0, len(frames), BLOCK_FRAMES):
            block = np.arange(begin, min(begin + BLOCK_FRAMES, len(frames)))
            coarse = np.unique([*block[::STRIDE], block[-1]])
            run.attempt(coarse, run.turned(coarse, start), leave=int(_LEFT * len(coarse)))
            run.find(coarse)
            run.retry(coarse[run.converged[coarse]])
            others = np.setdiff1d(block, coarse[run.converged[coarse]])
            run.attempt(others, _interpolated(frames[others], frames[coarse], run.x[coarse]))
            run.retry(block)
            run.smooth(block)
            start = run.x[block[-1]]
        run.unwind()
        coordinates, rms = np.full((len(points), len(self.linkage.coordinates)), np.nan), np.full(len(points), np.nan)
        coordinates[frames] = run.full(run.x, frames)
        rms[frames] = run.rms(coordinates[frames])
        converged = np.zeros(len(points), bool)
        converged[frames] = run.converged
        return IkSolution(coordinates, rms, seen.sum(1), converged, run.steps / max(len(frames), 1))


class _Run:
    """The frames of one trial and the best that is known of each."""

    def __init__(self, ik: MarkerIk, points: np.ndarray, weights: np.ndarray, frames: np.ndarray) -> None:
        self.ik, self.points, self.frames = ik, np.ascontiguousarray(points.T), frames
        self.weights = np.ascontiguousarray((weights / weights.sum(1, keepdims=True)).T)
        self.x = np.zeros((len(points), len(ik.linkage.free)))
        self.cost, self.square_m2, self.converged = np.full(len(points), np.inf), np.full(len(points), np.inf), np.zeros(len(points), bool)
        self.steps = 0

    def full(self, x: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """(T, N) all coordinates of free ones (T, F)."""
        full = np.broadcast_to(self.ik.linkage.default, (len(frames), len(self.ik.linkage.coordinates))).copy()
        full[:, self.ik.linkage.free] = x
        return self.ik.linkage.complete(full)

    def rms(self, full: np.ndarray) -> np.ndarray:
        """(T,) weighted distance of the markers, m, at all coordinates of all frames."""
        linkage = self.ik.linkage
        off = linkage.marker_rows(linkage.poses(full, twists=False), self.ik.markers) - self.points
        return np.sqrt((self.weights * (off * off).sum(0)).sum(0))

    def turned(self, which: np.ndarray, start: np.ndarray) -> np.ndarray:
        """(n, F) a start for each frame: `start` (F,), with the root turned about one of its axes where the body faces another way. From a pose that faces the
        wrong way hips and trunk would wind round to meet the markers."""
        starts = self.ik.turned_starts(start)
        linkage, frames = self.ik.linkage, self.frames[which[:1]].repeat(len(starts))
        model = linkage.marker_rows(linkage.poses(self.full(starts, frames), twists=False), self.ik.markers)  # (3, K, S)
        points, weights = self.points[..., which], self.weights[:, which]
        # Squared distances once both are moved to their centres.
        mean_m, mean_p = np.einsum("kt,cks->cst", weights, model), np.einsum("kt,ckt->ct", weights, points)
        size = np.einsum("kt,cks->st", weights, model**2) - (mean_m**2).sum(0)
        both = np.einsum("kt,cks,ckt->st", weights, model, points) - np.einsum("cst,ct->st", mean_m, mean_p)
        error = size - 2 * both + (np.einsum("kt,ckt->t", weights, points**2) - (mean_p**2).sum(0))
        best = error.argmin(0)
        return starts[np.where(error[best, np.arange(len(which))] < _TURNED * error[0], best, 0)]

    def unwind(self) -> None:
        """Take whole turns out of coordinates that are the same pose after one: continuous in time, and over the trial nearest to their default; the root's in
        the first frame, since somebody may go round."""
        lower, upper = self.ik.bounds
        default, turn = self.ik.linkage.default[self.ik.linkage.free], 2 * np.pi
        for f in self.ik.whole_turns:
            values = np.unwrap(self.x[:, f])
            values -= turn * np.round(((values[0] if f in self.ik.root_turns else np.median(values)) - default[f]) / turn)
            if (values >= lower[f]).all() and (values <= upper[f]).all():
                self.x[:, f] = values

    def attempt(self, which: np.ndarray, start: np.ndarray, slack_m: float = 0.0, leave: int = 0) -> None:
        """Solve the frames `which` from `start` (n, F), but for the last `leave` of them, and keep what is as good as before, or by no more than `slack_m`
        worse."""
        if not len(which):
            return
        x, cost, square, converged = self._levenberg(which, start, leave=leave)
        better = np.sqrt(cost) <= np.sqrt(self.cost[which]) + slack_m
        kept = which[better]
        self.x[kept], self.cost[kept], self.square_m2[kept], self.converged[kept] = x[better], cost[better], square[better], converged[better]

    def find(self, which: np.ndarray) -> None:
        """If most of the frames are far off, and further than those before them, a search over the root's orientation in the best of them, from which the
        others start again."""
        rms = np.sqrt(self.square_m2[which])
        before = np.sqrt(self.square_m2[: which[0]])
        if np.median(rms) > max(_LOST * self.ik.spread_m, _POOR * np.median(before) if len(before) else 0.0):
            best = which[np.argmin(rms)]
            self._search(best, self.ik.root_starts())
            others = which[which != best]
            self.attempt(others, np.repeat(self.x[best][None], len(others), 0))

    def retry(self, which: np.ndarray) -> None:
        """Frames much worse than the others once more, from the nearest good ones."""
        for _ in range(3):
            rms = np.sqrt(self.square_m2[which])
            poor = rms > _POOR * np.median(rms) + _POOR_M
            if not poor.any():
                return
            good, poor = which[~poor], which[poor]
            before = self.cost[poor]
            nearest = good[np.argmin(np.abs(self.frames[poor][:, None] - self.frames[good]), axis=1)]
            self.attempt(poor, self.x[nearest])
            if not np.any(self.cost[poor] < 0.9 * before):
                return

    def smooth(self, which: np.ndarray) -> None:
        """Single frames that leave the line between their neighbours, where too few markers say otherwise, once more from that line."""
        inner = which[1:-1]
        line = (self.x[inner - 1] + self.x[inner + 1]) / 2
        jumps = (np.abs(self.x[inner] - line) > self.ik.reach).any(1)
        if jumps.any():
            self.attempt(inner[jumps], line[jumps], slack_m=_SLACK_M)

    def _search(self, frame: int, starts: np.ndarray) -> None:
        """Put a frame to the best end of all starts; of equally good ones to the one with the smallest angles."""
        x, cost, _, _ = self._levenberg(np.full(len(starts), frame), starts, _SEARCH_ITERATIONS)
        x = x[np.argsort(cost)[:_SEARCH_KEEPS]]
        x, cost, square, converged = self._levenberg(np.full(len(x), frame), x)
        if cost.min() < 0.8 * self.cost[frame]:
            equal = np.flatnonzero(cost <= 1.01 * cost.min() + _SLACK_M**2)
            k = equal[np.argmin(np.abs(x[equal] - starts[0])[:, np.isfinite(self.ik.reach)].sum(1))]
            self.x[frame], self.cost[frame], self.square_m2[frame], self.converged[frame] = x[k], cost[k], square[k], converged[k]

    def _levenberg(
        self, which: np.ndarray, start: np.ndarray, iterations: int = MAX_ITERATIONS, leave: int = 0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Damped steps of every frame until no more than `leave` move. Returns coordinates, costs, the markers' part, and who came to rest."""
        lower, upper = self.ik.bounds
        x = np.clip(start, lower, upper)
        cost, square = np.full(len(which), np.inf), np.full(len(which), np.inf)
        done = np.zeros(len(which), bool)
        active = np.arange(len(which))
        trial, damping = x.copy(), np.full(len(which), _DAMPING)
        last, gain = np.zeros(len(which)), np.zeros(len(which))
        for _ in range(iterations):
            rows = which[active]
            new = self.ik.normal(self.full(trial, self.frames[rows]), self.points[..., rows], self.weights[:, rows], self.frames[rows])
            self.steps += len(active)
            accepted = new.cost <= cost[active]
            with np.errstate(invalid="ignore"):
                share_gained = np.where(np.isfinite(cost[active]), (cost[active] - new.cost) / np.maximum(gain, 1e-30), 0.5)
            hit = active[accepted]
            x[hit], cost[hit], square[hit] = trial[accepted], new.cost[accepted], new.square_m2[accepted]
            if accepted.all():
                matrix, gradient = new.matrix, new.gradient
            else:
                matrix, gradient = np.where(accepted[:, None, None], new.matrix, matrix), np.where(accepted[:, None], new.gradient, gradient)
            damping = np.where(share_gained > 0.75, 0.1 * damping, np.where(share_gained < 0.25, np.maximum(10 * damping, _POOR_DAMPING), damping))
            damping = np.clip(damping, _MIN_DAMPING, _MAX_DAMPING)
            here = x[active]
            step = _step(matrix, gradient, damping, ((here <= lower) & (gradient > 0)) | ((here >= upper) & (gradient < 0)))
            trial = np.minimum(np.maximum(here + np.minimum(np.maximum(step, -self.ik.reach), self.ik.reach), lower), upper)
            size = np.abs(trial - here).max(1)
            share = np.minimum(size / np.maximum(last, 1e-12), 0.5)
            gain = -((2 * gradient + (matrix @ (trial - here)[..., None])[..., 0]) * (trial - here)).sum(1)
            rest = (size * share / (1 - share) < TOLERANCE) | (accepted & (gain >= 0) & (gain < COST_TOLERANCE * cost[active]))
            last = np.where(accepted, size, 0.0)
            stuck = damping >= _MAX_DAMPING
            x[active[rest & ~stuck]] = trial[rest & ~stuck]
            done[active[rest | stuck]] = True
            left = ~(rest | stuck)
            if left.sum() <= leave:
                break
            if not left.all():
                active, trial, damping, last, gain = active[left], trial[left], damping[left], last[left], gain[left]
                matrix, gradient = matrix[left], gradient[left]
        return x, cost, square, done


def _step(matrix: np.ndarray, gradient: np.ndarray, damping: np.ndarray, blocked: np.ndarray) -> np.ndarray:
    """(T, F) damped Newton step of the coordinates that are not blocked."""
    system = matrix.copy()
    diagonal = np.einsum("tff->tf", system)
    diagonal += damping[:, None] * diagonal + 1e-10
    if blocked.any():
        system[np.broadcast_to(blocked[:, :, None], system.shape) | np.broadcast_to(blocked[:, None, :], system.shape)] = 0.0
        diagonal[blocked] = 1.0
    return -np.linalg.solve(system, np.where(blocked, 0.0, gradient)[..., None])[..., 0]


def _interpolated(at: np.ndarray, known: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(n, F) at the frames `at`, between the rows of x (k, F), which stand at the frames `known`."""
    return make_interp_spline(known, x, k=min(3, len(known) - 1))(at)
