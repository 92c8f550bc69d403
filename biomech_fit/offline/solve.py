"""Gauss-Newton over all trials at once: every trial its own motion, one body for all, one rig for those that were recorded with it.

    slow states = [body: scales and keypoint offsets | rig 1: cameras, clocks, floor | rig 2 ... | trial 1: keypoint offsets | trial 2 ...]

Where a detector aims changes a little with posture and clothes: with several trials each has keypoint offsets of its own, a few millimetres from the person's.

Nobody's joints sit just where the scaled model has them. What that leaves over is alike in all frames: taken for independent, it is trusted over the prior of
the body in directions that the data leave almost open, the more the longer the recordings. `doubt` divides what the data say of the body.

What `offline.rig` leaves of every trial, its share in the normal equations of the slow states, is added up here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import jax
import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.projection import CameraArrays
from biomech_fit.core.result import Readout
from biomech_fit.core.window import SlowLayout
from biomech_fit.core.window_costs import WindowCosts
from biomech_fit.offline.rig import WORKERS, Eliminated, Rig, RigSolver
from biomech_fit.offline.spline_motion import SplineMotion
from biomech_fit.offline.trial import Trial
from biomech_fit.stream.camera_estimate import corrected
from biomech_fit.stream.slow_states import SUBJECT_OFFSET_STD_M, BodyPrior, SlowStates

OFFSET_CHANGE_STD_M = SUBJECT_OFFSET_STD_M
"""Of a keypoint offset from trial to trial, per axis."""
MAX_TURN_RAD = 0.5
"""A step that turns a joint further is shortened."""


@dataclass(frozen=True, eq=False)
class _Member:
    """A rig, and where its slow states are among all."""

    solver: RigSolver
    index: np.ndarray
    """(M,) with the person's keypoint offsets."""
    own: list[np.ndarray]
    """The same for each trial, with its own offsets."""


class OfflineSolve:
    """All trials of one person, and what is known of the slow states.

    Args:
        body: with the keypoints that are fitted.
        rigs: at least one, each with at least one trial.
        config: settings; `refine` says which slow states are estimated.
        known: of the body, before it is seen; None = what the model says.
        doubt: by this factor what the data say of scales and offsets counts less than that of independent errors would; 1 = none.
    """

    def __init__(
        self,
        body: BodyModel,
        rigs: Sequence[Rig],
        config: FitConfig,
        known: BodyPrior | None = None,
        doubt: float = 1.0,
    ):
        self.body, self.rigs, self.config, self._doubt = body, list(rigs), config, doubt
        self._poses_free = config.refine.cameras
        pool = ThreadPoolExecutor(WORKERS, "chunk")
        self._members: list[_Member] = []
        end, several = 0, sum(len(rig.trials) for rig in self.rigs) > 1
        for rig in self.rigs:
            solver = RigSolver(body, rig, config, known, pool)
            layout = solver.layout
            shared = layout.offsets.stop
            end = max(end, shared)
            index = np.r_[np.arange(shared), end + np.arange(layout.size - shared)]
            end += layout.size - shared
            own = []
            for _ in rig.trials:
                mine = index.copy()
                if several:
                    mine[layout.offsets] = end + np.arange(3 * layout.n_keypoints)
                    end += 3 * layout.n_keypoints
                own.append(mine)
            self._members.append(_Member(solver, index, own))
        self.slow = np.zeros(end)
        self.covariance = np.zeros((end, end))
        """Of the slow states, after `uncertainty`."""
        self.start_from([(member.solver.layout, member.solver.states.prior.mean) for member in self._members])

    def observe(self, trials: Sequence[Sequence[Trial]]) -> None:
        """Take these detections (by rig) from now on: the same trials as before, but for what is left out of them, or for other noise."""
        for member, own in zip(self._members, trials, strict=True):
            member.solver.observe(own)

    # --- steps ------------------------------------------------------------------------------------------------------------------------------------

    def start_from(self, slow: Sequence[tuple[SlowLayout, np.ndarray]]) -> None:
        """Begin with these slow states (M,), by rig, as far as their layout has them; the body's are the first one's."""
        for member, (layout, values) in zip(reversed(self._members), reversed(slow), strict=True):
            for part in ("scales", "offsets", "cameras", "lenses", "floor"):
                place, there = getattr(member.solver.layout, part), values[getattr(layout, part)]
                for index in (member.index, *member.own):
                    self.slow[index[place]] = there if len(there) else 0.0

    def free_cameras(self, poses: bool, lenses: bool) -> None:
        """Let the cameras' poses and lenses be corrected as far as `config.refine` says, or hold them as they were loaded. Clocks are not concerned, nor are
        the poses of cameras that were found to stand elsewhere."""
        refine = self.config.refine
        self._poses_free = refine.cameras and poses
        config = replace(self.config, refine=replace(refine, cameras=refine.cameras and poses, intrinsics=refine.intrinsics if lenses else "none"))
        for member in self._members:
            member.solver.states.refine_cameras(config)

    def solve(self, iterations: int, tolerance_rad: float, widen: float = 1.0) -> float:
        """Gauss-Newton until no joint moves by more than `tolerance_rad`, at most so often. Returns the robust cost before the last step."""
        cost = np.nan
        for _ in range(iterations):
            cost, turn = self._step(widen)
            widen = max(1.0, 0.7 * widen)
            if turn < tolerance_rad and widen == 1.0:
                break
        return cost

    def learn_spread(self) -> None:
        """How wrong the calibrations are, from the cameras' corrections and their covariance (`SlowStates.learn_spread`)."""
        for member in self._members:
            member.solver.states.observe(self.slow[member.index], self.covariance[np.ix_(member.index, member.index)])
            member.solver.states.learn_spread()

    def _step(self, widen: float) -> tuple[float, float]:
        """Returns the cost, and the largest step of a joint (rad)."""
        matrix, rhs, eliminated = self._reduced(widen)
        slow_step = _inverse(matrix) @ rhs
        rows = slice(3 if self.body.has_free_root else 0, None)
        steps, turn = [], 0.0
        for (solver, number, index), trial in zip(self._trials(), eliminated, strict=True):
            motion, step = solver.motions[number], solver.step(number, trial, slow_step[index])
            steps.append((motion, step))
            turn = max(turn, float(np.abs(step[motion.active, rows]).max()))
        shrink = min(1.0, MAX_TURN_RAD / max(turn, 1e-9))
        for motion, step in steps:
            motion.move(shrink * step)
        self.slow = self.slow + shrink * slow_step
        return sum(trial.cost for trial in eliminated), turn

    def _reduced(self, widen: float) -> tuple[np.ndarray, np.ndarray, list[Eliminated]]:
        """Normal equations of the slow states at the current estimate, all motions eliminated; and each trial's part."""
        matrix, rhs = self.slow_prior()
        eliminated = []
        for solver, number, index in self._trials():
            trial = solver.eliminated(number, self.slow[index], widen)
            matrix[np.ix_(index, index)] += trial.corner
            rhs[index] += trial.vector
            eliminated.append(trial)
        return matrix, rhs, eliminated

    def _trials(self) -> Iterator[tuple[RigSolver, int, np.ndarray]]:
        """All trials: their rig, their number in it, and where their slow states are among all."""
        for member in self._members:
            for number, index in enumerate(member.own):
                yield member.solver, number, index

    def slow_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """The slow states' prior at the current estimate, as normal equations; the body's is firmer by the doubt in what the data say of it, which comes to
        the same."""
        size = len(self.slow)
        matrix, rhs = np.zeros((size, size)), np.zeros(size)
        for number, member in enumerate(self._members):
            rig, slow, body = member.solver, self.slow[member.index], member.solver.layout.offsets.stop
            with jax.enable_x64(True):
                precision = np.array(rig.solver.slow_precision(rig.states.prior, slow))
            if number:
                # The body's prior counts once.
                precision[:body, :], precision[:, :body] = 0.0, 0.0
            precision[:body, :body] *= self._doubt
            matrix[np.ix_(member.index, member.index)] += precision
            rhs[member.index] += precision @ (rig.states.prior.mean - slow)
            for index in member.own:
                common, own = member.index[rig.layout.offsets], index[rig.layout.offsets]
                if np.array_equal(common, own):
                    continue
                firm = self._doubt / OFFSET_CHANGE_STD_M**2
                matrix[own, own] += firm
                matrix[common, common] += firm
                matrix[own, common] -= firm
                matrix[common, own] -= firm
                away = (self.slow[own] - self.slow[common]) * firm
                rhs[own] -= away
                rhs[common] += away
        return matrix, rhs

    # --- results ----------------------------------------------------------------------------------------------------------------------------------

    def uncertainty(self) -> Iterator[tuple[int, int, Readout]]:
        """Readouts (rig, trial, all T frames) at the current estimate, with the posterior's covariances (Laplace's approximation).

        `covariance` is set before the first comes out.
        """
        eliminated = iter(self.know_slow())
        for r, member in enumerate(self._members):
            for number, index in enumerate(member.own):
                yield r, number, member.solver.readout(number, self.slow[index], next(eliminated), self.covariance[np.ix_(index, index)])

    def know_slow(self) -> list[Eliminated]:
        """Set `covariance`, that of the slow states at the current estimate. Returned: what `uncertainty` needs of each trial."""
        matrix, _, eliminated = self._reduced(1.0)
        self.covariance = _inverse(matrix)
        if self._doubt != 1.0:
            # With the prior made firmer instead of the data's information less, the body's own covariance is too small by that factor. The rest follows it.
            body = self._body()
            own = _inverse(self.covariance[np.ix_(body, body)])
            self.covariance += (self._doubt - 1) * self.covariance[:, body] @ own @ self.covariance[body]
        return eliminated

    def _body(self) -> np.ndarray:
        """Where scales and offsets, the person's and the trials', are among all slow states."""
        return np.unique(np.concatenate([index[: m.solver.layout.offsets.stop] for m in self._members for index in (m.index, *m.own)]))

    def slow_of(self, rig: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean (M,) and covariance (M, M) of a rig's slow states."""
        index = self._members[rig].index
        return self.slow[index], self.covariance[np.ix_(index, index)]

    def slow_index(self, rig: int, trial: int) -> np.ndarray:
        """(M,) where a trial's slow states are among all."""
        return self._members[rig].own[trial]

    def costs_of(self, rig: int) -> WindowCosts:
        """A rig's costs."""
        return self._members[rig].solver.solver.costs

    def arrays_of(self, rig: int) -> CameraArrays:
        """A rig's cameras before they are corrected."""
        return self._members[rig].solver.arrays

    @property
    def motions(self) -> list[list[SplineMotion]]:
        """Each trial's motion, by rig."""
        return [member.solver.motions for member in self._members]

    def lens_sigmas(self) -> float:
        """The largest lens correction in its standard deviations, after `uncertainty`."""
        index = np.concatenate([member.index[member.solver.layout.lenses] for member in self._members])
        return float(np.max(np.abs(self.slow[index]) / np.sqrt(np.diag(self.covariance)[index]), initial=0.0))

    def refined(self, rig: int) -> list[Camera]:
        """A rig's cameras with their corrections; those that are held are as they were loaded."""
        slow, layout, of = self.slow[self._members[rig].index], self._members[rig].solver.layout, self.rigs[rig]
        found = corrected(of.standing, slow[layout.rig])
        return [new if self._poses_free or c in of.found else loaded for c, (new, loaded) in enumerate(zip(found, of.cameras, strict=True))]

    def states_of(self, rig: int) -> SlowStates:
        """Prior of a rig's slow states."""
        return self._members[rig].solver.states


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a positive definite matrix whose diagonal spans many orders of magnitude: states that are held beside a floor that is hardly known."""
    scale = 1 / np.sqrt(np.diag(matrix))
    inverse = np.linalg.inv(matrix * scale[:, None] * scale)
    return 0.5 * (inverse + inverse.T) * scale[:, None] * scale
