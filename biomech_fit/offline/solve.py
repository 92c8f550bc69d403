"""Gauss-Newton over all trials at once: every trial its own motion, one body for all, one rig for those that were recorded with it.

    slow states = [body: scales and keypoint offsets | rig 1: cameras, clocks, floor | rig 2 ... | trial 1: keypoint offsets | trial 2 ...]

Where a detector aims changes a little with posture and clothes: with several trials each has keypoint offsets of its own, a few millimetres from the person's.

Each rig's trials are linearised and eliminated chunk by chunk (`core.chunk_solver`); what is left of every trial is its share in the normal equations of the
slow states, which are added up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.chunk_solver import ChunkFactor, ChunkSolver, Tail
from biomech_fit.core.linear import ORDER
from biomech_fit.core.motion import POSE_MEMORY_S
from biomech_fit.core.point_residuals import PointCosts, PointObservations
from biomech_fit.core.projection import CameraArrays, camera_arrays
from biomech_fit.core.residuals import LENS_STATES, Observations
from biomech_fit.core.result import Readout
from biomech_fit.core.window import SlowLayout, Window
from biomech_fit.core.window_costs import SolverOptions, WindowCosts
from biomech_fit.offline.spline_motion import SplineMotion
from biomech_fit.offline.trial import Trial
from biomech_fit.stream.camera_estimate import corrected, corrected_lenses
from biomech_fit.stream.noise import NoiseModel
from biomech_fit.stream.slow_states import SUBJECT_OFFSET_STD_M, SlowStates
from biomech_fit.stream.solver_options import solver_options

CHUNK_INTERVALS = 32
OFFSET_CHANGE_STD_M = SUBJECT_OFFSET_STD_M
"""Of a keypoint offset from trial to trial, per axis."""
HOLD = 1e12
"""Information that holds a slow state where it is: far above what a whole recording has."""
POSTURE_MEMORY_S = 2.5
"""Of the pose prior of coordinates whose prior is wide: one sample for so long. How somebody moves is much the same for the whole recording, and ten samples of
it would pull at the body: shanks of simulated people became 3 mm longer."""
WIDE_POSE_STD = 0.25
"""rad. Narrower pose priors stay as they are: they hold what keypoints hardly see, like the pelvis' tilt."""
STANCE_S = 0.6
"""Of contact: one sample for a stance. A foot rolls in each step as in the one before; taken for new every 0.15 s, contact lengthened shanks by 3 mm."""
WORKERS = 2
"""Chunks that are linearised side by side."""
MAX_TURN_RAD = 0.5
"""A step that turns a joint further is shortened."""

_shared_solver = lru_cache(maxsize=4)(ChunkSolver)


@lru_cache(maxsize=4)
def _with_wide_poses(body: BodyModel) -> BodyModel:
    """The body with wider pose priors; one object for one body, so that compiled solvers can be shared."""
    wider = np.where(body.pose_std > WIDE_POSE_STD, np.sqrt(POSTURE_MEMORY_S / POSE_MEMORY_S), 1.0)
    return replace(body, pose_std=body.pose_std * wider)


@dataclass(eq=False)
class Rig:
    """Trials that were recorded with the same calibration, and the noise of the detectors there."""

    cameras: list[Camera]
    trials: list[Trial]
    noise: NoiseModel
    frame_rate_hz: float
    points: PointCosts | None = None
    """How 3D points are compared, where these are observed and there is no camera."""


@dataclass(eq=False)
class _RigState:
    solver: ChunkSolver
    states: SlowStates
    index: np.ndarray
    """(M,) where the rig's slow states, with the person's keypoint offsets, are among all."""
    own: list[np.ndarray]
    """The same for each trial, with its own offsets."""
    arrays: CameraArrays
    motions: list[SplineMotion]
    slots: int
    """Frames that a chunk has room for."""
    chunks: list[list[Observations]] = field(default_factory=list)
    """By trial and chunk; filled by `_observations`."""
    valid: list[list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=list)
    """The frames' places in the chunk, and 1 for each slot whose frame shows the person."""


class OfflineSolve:
    """All trials of one person, and what is known of the slow states.

    Args:
        body: with the keypoints that are fitted.
        rigs: at least one, each with at least one trial.
        config: settings; `refine` says which slow states are estimated.
        subject: scales (S,), offsets (K, 3) and their covariance of a body that was measured before.
    """

    def __init__(self, body: BodyModel, rigs: Sequence[Rig], config: FitConfig, subject: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None):
        self.body, self.rigs, self.config = body, list(rigs), config
        self._pool = ThreadPoolExecutor(WORKERS, "chunk")
        self._rigs: list[_RigState] = []
        end, several = 0, sum(len(rig.trials) for rig in self.rigs) > 1
        with jax.enable_x64(True):
            for rig in self.rigs:
                options = _options(config, rig, bool(body.foot_points))
                solver = _shared_solver(_with_wide_poses(body) if rig.points is None else body, len(rig.cameras), options)
                layout = solver.layout
                states = SlowStates(body, layout, rig.cameras, config, HOLD)
                states.released = True
                if subject is not None:
                    states.set_subject(*subject)
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
                motions = [SplineMotion(trial, options.spacing_s, solver.own, body.has_free_root) for trial in rig.trials]
                slots = options.frames
                self._rigs.append(_RigState(solver, states, index, own, camera_arrays(rig.cameras, jnp.float64), motions, slots))
        self.slow = np.zeros(end)
        self.covariance = np.zeros((end, end))
        """Of the slow states, after `uncertainty`."""
        self.start_from([(state.solver.layout, state.states.prior.mean) for state in self._rigs])
        self.observe([rig.trials for rig in self.rigs])

    # --- what is observed -------------------------------------------------------------------------------------------------------------------------

    def observe(self, trials: Sequence[Sequence[Trial]]) -> None:
        """Take these detections (by rig) from now on: the same trials as before, but for what is left out of them, or for other noise."""
        sigma = self.config.noise.pixel_sigma_px
        for rig, state, own in zip(self.rigs, self._rigs, trials, strict=True):
            rig.trials = list(own)
            state.chunks, state.valid = [], []
            for trial, motion in zip(own, state.motions, strict=True):
                information, rho = trial.information(rig.noise, sigma), trial.correlation(rig.noise)
                parts = [self._padded(state.slots, motion, k, trial, information, rho) for k in range(motion.chunks)]
                state.chunks.append([observed for observed, _ in parts])
                state.valid.append([place for _, place in parts])

    @staticmethod
    def _padded(
        slots: int, motion: SplineMotion, chunk: int, trial: Trial, information: np.ndarray, rho: np.ndarray
    ) -> tuple[Observations, tuple[np.ndarray, np.ndarray]]:
        frames = motion.frames(chunk)

        def filled(values: np.ndarray) -> np.ndarray:
            out = np.zeros((slots, *values.shape[1:]))
            out[: len(frames)] = values[frames]
            return out

        u, valid = np.zeros(slots), np.zeros(slots)
        # Where nothing is seen the feet are not taken to rest either: planted for a whole gap, they would bend the body that goes on.
        u[: len(frames)], valid[: len(frames)] = motion.place(chunk), trial.is_seen[frames]
        share = (1 - rho) / (1 + rho)
        seen = filled(trial.xy), filled(information), filled(trial.delay_s), filled(share)
        if trial.points is not None:
            return Observations(*seen, PointObservations(*(filled(part) for part in trial.points))), (u, valid)
        return Observations(*seen, None, filled(rho / (1 - rho**2))), (u, valid)

    # --- steps ------------------------------------------------------------------------------------------------------------------------------------

    def start_from(self, slow: Sequence[tuple[SlowLayout, np.ndarray]]) -> None:
        """Begin with these slow states (M,), by rig, as far as their layout has them; the body's are the first one's."""
        for state, (layout, values) in zip(reversed(self._rigs), reversed(slow), strict=True):
            for part in ("scales", "offsets", "cameras", "lenses", "floor"):
                place, there = getattr(state.solver.layout, part), values[getattr(layout, part)]
                for index in (state.index, *state.own):
                    self.slow[index[place]] = there if len(there) else 0.0

    def free_cameras(self, poses: bool, lenses: bool) -> None:
        """Let the cameras' poses and lenses be corrected as far as `config.refine` says, or hold them as they were loaded. Clocks are not concerned."""
        refine = self.config.refine
        config = replace(self.config, refine=replace(refine, cameras=refine.cameras and poses, intrinsics=refine.intrinsics if lenses else "none"))
        for state in self._rigs:
            state.states.refine_cameras(config)

    def solve(self, iterations: int, tolerance_rad: float, on_step: Callable[[int, float], None] | None = None, widen: float = 1.0) -> float:
        """Gauss-Newton until no joint moves by more than `tolerance_rad`, at most so often. Returns the robust cost before the last step."""
        cost = np.nan
        for i in range(iterations):
            cost, turn = self._step(widen)
            widen = max(1.0, 0.7 * widen)
            if on_step is not None:
                on_step(i, cost)
            if turn < tolerance_rad and widen == 1.0:
                break
        return cost

    def learn_spread(self) -> None:
        """How wrong the calibrations are, from the cameras' corrections and their covariance (`SlowStates.learn_spread`)."""
        for state in self._rigs:
            own = np.ix_(state.index, state.index)
            state.states.observe(self.slow[state.index], self.covariance[own])
            state.states.learn_spread()

    def _step(self, widen: float) -> tuple[float, float]:
        """Returns the cost, and the largest step of a joint (rad)."""
        with jax.enable_x64(True):
            (matrix, rhs), total = self.slow_prior(), 0.0
            kept: list[list[tuple[list[ChunkFactor], list[np.ndarray | None], tuple]]] = []
            for state in self._rigs:
                kept.append([])
                for index, (factors, changes, end, (corner, vector, cost)) in zip(state.own, self._eliminated(state, widen), strict=True):
                    matrix[np.ix_(index, index)] += corner
                    rhs[index] += vector
                    total += cost
                    kept[-1].append((factors, changes, end))
            slow_step = _inverse(matrix) @ rhs
            steps, turn = [], 0.0
            for state, trials in zip(self._rigs, kept, strict=True):
                for motion, index, (factors, changes, end) in zip(state.motions, state.own, trials, strict=True):
                    step = self._back(state, motion, factors, changes, end, slow_step[index])
                    steps.append((motion, step))
                    turn = max(turn, float(np.abs(step[motion.active, 3 if self.body.has_free_root else 0 :]).max()))
            shrink = min(1.0, MAX_TURN_RAD / max(turn, 1e-9))
            for motion, step in steps:
                motion.move(shrink * step)
            self.slow = self.slow + shrink * slow_step
        return total, turn

    def slow_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """The slow states' prior at the current estimate, as normal equations."""
        size = len(self.slow)
        matrix, rhs = np.zeros((size, size)), np.zeros(size)
        for number, state in enumerate(self._rigs):
            slow = self.slow[state.index]
            with jax.enable_x64(True):
                precision = np.array(state.solver.slow_precision(state.states.prior, slow))
            if number:
                # The body's prior counts once.
                body = state.solver.layout.offsets.stop
                precision[:body, :], precision[:, :body] = 0.0, 0.0
            matrix[np.ix_(state.index, state.index)] += precision
            rhs[state.index] += precision @ (state.states.prior.mean - slow)
            offsets = state.solver.layout.offsets
            for index in state.own:
                common, own = state.index[offsets], index[offsets]
                if np.array_equal(common, own):
                    continue
                matrix[own, own] += OFFSET_CHANGE_STD_M**-2
                matrix[common, common] += OFFSET_CHANGE_STD_M**-2
                matrix[own, common] -= OFFSET_CHANGE_STD_M**-2
                matrix[common, own] -= OFFSET_CHANGE_STD_M**-2
                away = (self.slow[own] - self.slow[common]) / OFFSET_CHANGE_STD_M**2
                rhs[own] -= away
                rhs[common] += away
        return matrix, rhs

    def _chunk(self, state: _RigState, trial: int, chunk: int) -> Window:
        motion = state.motions[trial]
        u, valid = state.valid[trial][chunk]
        slow = self.slow[state.own[trial]]
        return Window(
            motion.local(chunk), None, motion.reference[chunk], u, valid, state.chunks[trial][chunk], state.arrays, np.eye(3), slow, None, None, None,
        )  # type: ignore[arg-type]  # fmt: skip

    def _systems(self, state: _RigState, trial: int, widen: float) -> Iterator[tuple]:
        """Normal equations of a trial's chunks in order of time, a few computed ahead."""
        motion = state.motions[trial]

        def make(chunk: int) -> tuple:
            with jax.enable_x64(True):
                active = motion.active[chunk * motion.own : (chunk + 1) * motion.own + ORDER].astype(float)
                made = state.solver.system(self._chunk(state, trial, chunk), float(motion.is_last(chunk)), active, widen)
                return jax.block_until_ready(made)

        ahead: deque[Future] = deque()
        for chunk in range(motion.chunks):
            ahead.append(self._pool.submit(make, chunk))
            if len(ahead) > 2 * WORKERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _eliminated(self, state: _RigState, widen: float) -> Iterator[tuple]:
        """Of each trial: factors and changes of chart by chunk, the factor of the last control points, and its share in the slow states."""
        solver = state.solver
        for number, motion in enumerate(state.motions):
            head = solver.empty_head()
            m = solver.layout.size
            corner, vector, cost = np.zeros((m, m)), np.zeros(m), 0.0
            factors: list[ChunkFactor] = []
            changes: list[np.ndarray | None] = []
            for chunk, (system, own_cost) in enumerate(self._systems(state, number, widen)):
                head, factor, slow = solver.forward(system, head)
                factors.append(jax.device_get(factor))
                corner += np.asarray(slow.corner)
                vector += np.asarray(slow.rhs)
                cost += float(own_cost)
                change = None
                if not motion.same_chart(chunk):
                    old, new = motion.local(chunk)[-ORDER:, 3:6], motion.local(chunk + 1)[:ORDER, 3:6]
                    head, change = solver.rechart(head, old, new, motion.reference[chunk], motion.reference[chunk + 1])
                    change = np.asarray(change)
                changes.append(change)
            end = _last_factor(head)
            border, y = end[1], end[2]
            yield factors, changes, end, (corner - border.T @ border, vector - border.T @ y, cost)

    def _back(
        self, state: _RigState, motion: SplineMotion, factors: list[ChunkFactor], changes: list[np.ndarray | None], end: tuple, slow_step: np.ndarray
    ) -> np.ndarray:
        """(Q, N) the motion's step, each control point's in its own chart."""
        root, border, y = end
        n, own = self.body.mj_model.nv, motion.own
        step = np.zeros_like(motion.control)
        after = root.T @ (y - border @ slow_step)
        step[-ORDER:] = after.reshape(ORDER, n)
        for chunk in range(motion.chunks - 1, -1, -1):
            change = changes[chunk]
            mine = np.asarray(state.solver.backward(factors[chunk], after if change is None else change @ after, slow_step))
            step[chunk * own : (chunk + 1) * own] = mine
            after = mine[:ORDER].reshape(-1)
        return step

    # --- results ----------------------------------------------------------------------------------------------------------------------------------

    def uncertainty(self) -> Iterator[tuple[int, int, Readout]]:
        """Readouts (rig, trial, all T frames) at the current estimate, with the posterior's covariances (Laplace's approximation).

        `covariance` is set before the first comes out.
        """
        kept = self.know_slow()
        with jax.enable_x64(True):
            for r, state in enumerate(self._rigs):
                for number, (index, (factors, changes, end, _)) in enumerate(zip(state.own, kept[r], strict=True)):
                    slow = self.covariance[np.ix_(index, index)]
                    yield r, number, self._readout(state, number, factors, changes, end, slow)

    def know_slow(self) -> list[list[tuple]]:
        """Set `covariance`, that of the slow states at the current estimate. Returned: what `uncertainty` needs of each trial."""
        with jax.enable_x64(True):
            matrix, _ = self.slow_prior()
            kept = []
            for state in self._rigs:
                kept.append(list(self._eliminated(state, 1.0)))
                for index, (*_, (corner, _, _)) in zip(state.own, kept[-1], strict=True):
                    matrix[np.ix_(index, index)] += corner
        self.covariance = _inverse(matrix)
        return kept

    def _readout(self, state: _RigState, number: int, factors: list[ChunkFactor], changes: list[np.ndarray | None], end: tuple, slow: np.ndarray) -> Readout:
        motion, (root, border, _) = state.motions[number], end
        tail = Tail(root.T @ root, root.T @ border)
        parts: list[Readout] = []
        for chunk in range(motion.chunks - 1, -1, -1):
            change = changes[chunk]
            if change is not None:
                tail = Tail(change @ np.asarray(tail.covariance) @ change.T, change @ np.asarray(tail.by_slow))
            with jax.enable_x64(True):
                readout, tail = state.solver.uncertainty(self._chunk(state, number, chunk), factors[chunk], tail, slow)
            count = len(motion.frames(chunk))
            host = jax.device_get(readout)
            reference = np.tile(motion.reference[chunk], (count, 1, 1))
            parts.append(Readout(*(a[:count] if name != "reference" else reference for name, a in zip(Readout._fields, host, strict=True))))
        return Readout(*(np.concatenate(arrays) for arrays in zip(*reversed(parts), strict=True)))

    def slow_of(self, rig: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean (M,) and covariance (M, M) of a rig's slow states."""
        index = self._rigs[rig].index
        return self.slow[index], self.covariance[np.ix_(index, index)]

    def slow_index(self, rig: int, trial: int) -> np.ndarray:
        """(M,) where a trial's slow states are among all."""
        return self._rigs[rig].own[trial]

    def costs_of(self, rig: int) -> WindowCosts:
        """A rig's costs."""
        return self._rigs[rig].solver.costs

    def arrays_of(self, rig: int) -> CameraArrays:
        """A rig's cameras as loaded."""
        return self._rigs[rig].arrays

    @property
    def motions(self) -> list[list[SplineMotion]]:
        """Each trial's motion, by rig."""
        return [state.motions for state in self._rigs]

    def lens_sigmas(self) -> float:
        """The largest lens correction in its standard deviations, after `uncertainty`."""
        index = np.concatenate([state.index[state.states.layout.lenses] for state in self._rigs])
        return float(np.max(np.abs(self.slow[index]) / np.sqrt(np.diag(self.covariance)[index]), initial=0.0))

    def refined(self, rig: int) -> list[Camera]:
        """A rig's cameras with their corrections."""
        slow, layout, cameras = self.slow[self._rigs[rig].index], self._rigs[rig].states.layout, self.rigs[rig].cameras
        turned = corrected(cameras, slow[layout.cameras])
        return corrected_lenses(turned, slow[layout.lenses]) if layout.n_lens else turned

    def states_of(self, rig: int) -> SlowStates:
        """Prior of a rig's slow states."""
        return self._rigs[rig].states


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a positive definite matrix whose diagonal spans many orders of magnitude: states that are held beside a floor that is hardly known."""
    scale = 1 / np.sqrt(np.diag(matrix))
    inverse = np.linalg.inv(matrix * scale[:, None] * scale)
    return 0.5 * (inverse + inverse.T) * scale[:, None] * scale


def _last_factor(head: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the last three control points: inverse Cholesky factor, and with it what couples them to the slow states and the right side."""
    matrix, cross, rhs = (np.asarray(a) for a in head)  # type: ignore[attr-defined]
    root = np.linalg.inv(np.linalg.cholesky(0.5 * (matrix + matrix.T)))
    return root, root @ cross, root @ rhs


def _options(config: FitConfig, rig: Rig, has_feet: bool) -> SolverOptions:
    """Those of the streaming solver, with a chunk for the window."""
    options = solver_options(config, rig.frame_rate_hz, rig.cameras, has_feet, "cpu")
    if rig.points is not None:
        options = replace(options, points=rig.points, pose_memory_s=config.points.pose_memory_s)
    else:
        options = replace(options, contact_samples=1 / (rig.frame_rate_hz * STANCE_S))
    if config.fit.trajectory == "explicit":
        options = replace(options, spacing_s=1 / rig.frame_rate_hz)
    longest = max(_most_frames(trial, options.spacing_s) for trial in rig.trials)
    usual = int(np.ceil(CHUNK_INTERVALS * options.spacing_s * rig.frame_rate_hz)) + 2
    lens = LENS_STATES[config.refine.intrinsics] if config.refine.cameras else 0
    return replace(
        options,
        frames=max(longest, usual),
        knots=CHUNK_INTERVALS + ORDER,
        leaving_frames=1,
        refine_cameras=True,
        lens_states=lens,
        has_distortion=options.has_distortion or lens > 1,
    )


def _most_frames(trial: Trial, spacing_s: float) -> int:
    """The most frames that a chunk holds."""
    return int(np.bincount(np.floor(trial.time_s / spacing_s / CHUNK_INTERVALS).astype(int)).max())
