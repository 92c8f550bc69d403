"""One rig of the offline fit: its trials as chunks of a long spline, their normal equations, and what is read from a solution.

A trial's chunks are linearised a few at a time and eliminated in order of time (`core.chunk_solver`); what is left is the trial's share in the normal equations
of the slow states, which `offline.solve` adds up over all rigs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.chunk_solver import ChunkFactor, ChunkSolver, Tail
from biomech_fit.core.estimates import CameraFit
from biomech_fit.core.linear import ORDER
from biomech_fit.core.motion import POSE_MEMORY_S
from biomech_fit.core.point_residuals import PointCosts, PointObservations
from biomech_fit.core.projection import camera_arrays
from biomech_fit.core.residuals import Observations
from biomech_fit.core.result import Readout
from biomech_fit.core.window import SlowLayout, Window
from biomech_fit.core.window_costs import SolverOptions
from biomech_fit.offline.spline_motion import SplineMotion
from biomech_fit.offline.trial import Trial
from biomech_fit.stream.noise_model import NoiseModel
from biomech_fit.stream.slow_states import BodyPrior, SlowStates
from biomech_fit.stream.solver_options import solver_options

CHUNK_INTERVALS = 32
HOLD = 1e12
"""Information that holds a slow state where it is: far above what a whole recording has."""
POSTURE_MEMORY_S = 2.5
"""Of the pose prior of legs where it is wide: one sample for so long. How somebody walks is much the same for the whole recording, and ten samples of it would
pull at the body: shanks of simulated people became 3 mm longer. Arms and neck keep theirs: keypoints hardly see a twist of the upper arm or the forearm, so
that it wandered by 10 degrees."""
WIDE_POSE_STD = 0.25
"""rad. Narrower pose priors stay as they are: they hold what keypoints hardly see, like the pelvis' tilt."""
WORKERS = 2
"""Chunks that are linearised side by side."""

_shared_solver = lru_cache(maxsize=4)(ChunkSolver)


@lru_cache(maxsize=4)
def _with_wide_poses(body: BodyModel) -> BodyModel:
    """The body with wider pose priors of its legs; one object for one body, so that compiled solvers can be shared."""
    wider = np.where(_legs(body) & (body.pose_std > WIDE_POSE_STD), np.sqrt(POSTURE_MEMORY_S / POSE_MEMORY_S), 1.0)
    return replace(body, pose_std=body.pose_std * wider)


def _legs(body: BodyModel) -> np.ndarray:
    """(N,) whether a coordinate is one of those from the root to the soles."""
    model, carrying = body.mj_model, set()
    for link, _ in body.foot_points.values():
        while link:
            carrying.add(link)
            link = int(model.body_parentid[link])
    return np.isin(model.dof_bodyid, sorted(carrying))


@dataclass(eq=False)
class Rig:
    """Trials that were recorded with the same calibration, and the noise of the detectors there."""

    cameras: list[Camera]
    """As loaded."""
    trials: list[Trial]
    noise: NoiseModel
    frame_rate_hz: float
    points: PointCosts | None = None
    """How 3D points are compared, where these are observed and there is no camera."""
    found: dict[int, Camera] = field(default_factory=dict)
    """Cameras that the streaming fit found to stand elsewhere, and where: what is to be corrected is the rest."""
    fits: dict[int, CameraFit] = field(default_factory=dict)
    """What happened to them."""

    @property
    def standing(self) -> list[Camera]:
        """The cameras as they stand before they are corrected."""
        return [self.found.get(c, camera) for c, camera in enumerate(self.cameras)]


class Eliminated(NamedTuple):
    """A trial whose control points are eliminated."""

    factors: list[ChunkFactor]
    """By chunk."""
    changes: list[np.ndarray | None]
    """By chunk: what turns the next one's first control points into its chart; None = they are in the same."""
    root: np.ndarray
    """Of the last three control points: inverse Cholesky factor, ..."""
    border: np.ndarray
    """... and with it what couples them to the slow states, ..."""
    rhs: np.ndarray
    """... and the right side."""
    corner: np.ndarray
    """(M, M) what the trial tells of its slow states, ..."""
    vector: np.ndarray
    """... (M,) with the right side."""
    cost: float


class RigSolver:
    """The trials of one rig. Holds their motions; slow states (M,) come from outside.

    Args:
        body: with the keypoints that are fitted.
        rig: with at least one trial.
        config: settings.
        known: of the body, before it is seen; None = what the model says.
        pool: in which chunks are linearised.
    """

    def __init__(self, body: BodyModel, rig: Rig, config: FitConfig, known: BodyPrior | None, pool: ThreadPoolExecutor) -> None:
        self.rig, self._config, self._pool = rig, config, pool
        options = _options(config, rig, bool(body.foot_points))
        with jax.enable_x64(True):
            self.solver = _shared_solver(_with_wide_poses(body) if rig.points is None else body, len(rig.cameras), options)
            self.arrays = camera_arrays(rig.standing, jnp.float64)
            """The cameras before they are corrected."""
            self.states = SlowStates(body, self.layout, rig.cameras, config, HOLD)
            for c, camera in rig.found.items():
                self.states.place(c, camera)
            self.states.released = True
            if known is not None:
                self.states.set_subject(known)
        self.motions = [SplineMotion(trial, options.spacing_s, self.solver.own, body.has_free_root) for trial in rig.trials]
        self._slots = options.frames
        self._observed: list[list[tuple[Observations, np.ndarray, np.ndarray]]] = []
        """By trial and chunk: what is seen, the frames' places, and 1 for each slot whose frame shows the person."""
        self.observe(rig.trials)

    @property
    def layout(self) -> SlowLayout:
        """Of the slow states."""
        return self.solver.layout

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take these detections from now on: the same trials as before, but for what is left out of them, or for other noise."""
        self.rig.trials = list(trials)
        self._observed = []
        for trial, motion in zip(trials, self.motions, strict=True):
            information, rho = trial.information(self.rig.noise, self._config.noise.pixel_sigma_px), trial.correlation(self.rig.noise)
            self._observed.append([_padded(self._slots, motion, k, trial, information, rho) for k in range(motion.chunks)])

    def eliminated(self, trial: int, slow: np.ndarray, widen: float) -> Eliminated:
        """Linearise a trial at its motion and slow states (M,), and eliminate its control points."""
        solver, motion = self.solver, self.motions[trial]
        m = self.layout.size
        corner, vector, cost = np.zeros((m, m)), np.zeros(m), 0.0
        factors: list[ChunkFactor] = []
        changes: list[np.ndarray | None] = []
        with jax.enable_x64(True):
            head = solver.empty_head()
            for chunk, (system, own_cost) in enumerate(self._systems(trial, slow, widen)):
                head, factor, told = solver.forward(system, head)
                factors.append(jax.device_get(factor))
                corner += np.asarray(told.corner)
                vector += np.asarray(told.rhs)
                cost += float(own_cost)
                change = None
                if not motion.same_chart(chunk):
                    old, new = motion.local(chunk)[-ORDER:, 3:6], motion.local(chunk + 1)[:ORDER, 3:6]
                    head, change = solver.rechart(head, old, new, motion.reference[chunk], motion.reference[chunk + 1])
                    change = np.asarray(change)
                changes.append(change)
        root, border, y = _last_factor(head)
        return Eliminated(factors, changes, root, border, y, corner - border.T @ border, vector - border.T @ y, cost)

    def step(self, trial: int, eliminated: Eliminated, slow_step: np.ndarray) -> np.ndarray:
        """(Q, N) the motion's step, each control point's in its own chart, where the slow states make this one (M,)."""
        motion = self.motions[trial]
        own, step = motion.own, np.zeros_like(motion.control)
        after = eliminated.root.T @ (eliminated.rhs - eliminated.border @ slow_step)
        step[-ORDER:] = after.reshape(ORDER, -1)
        with jax.enable_x64(True):
            for chunk in range(motion.chunks - 1, -1, -1):
                change = eliminated.changes[chunk]
                mine = np.asarray(self.solver.backward(eliminated.factors[chunk], after if change is None else change @ after, slow_step))
                step[chunk * own : (chunk + 1) * own] = mine
                after = mine[:ORDER].reshape(-1)
        return step

    def readout(self, trial: int, slow: np.ndarray, eliminated: Eliminated, covariance: np.ndarray) -> Readout:
        """All T frames of a trial with their covariances, where the slow states (M,) have this one (M, M)."""
        motion, root = self.motions[trial], eliminated.root
        tail = Tail(root.T @ root, root.T @ eliminated.border)
        parts: list[Readout] = []
        for chunk in range(motion.chunks - 1, -1, -1):
            change = eliminated.changes[chunk]
            if change is not None:
                tail = Tail(change @ np.asarray(tail.covariance) @ change.T, change @ np.asarray(tail.by_slow))
            with jax.enable_x64(True):
                readout, tail = self.solver.uncertainty(self._chunk(trial, chunk, slow), eliminated.factors[chunk], tail, covariance)
            count = len(motion.frames(chunk))
            host = jax.device_get(readout)
            reference = np.tile(motion.reference[chunk], (count, 1, 1))
            parts.append(Readout(*(a[:count] if name != "reference" else reference for name, a in zip(Readout._fields, host, strict=True))))
        return Readout(*(np.concatenate(arrays) for arrays in zip(*reversed(parts), strict=True)))

    def _chunk(self, trial: int, chunk: int, slow: np.ndarray) -> Window:
        motion = self.motions[trial]
        seen, u, valid = self._observed[trial][chunk]
        return Window(
            motion.local(chunk), None, motion.reference[chunk], u, valid, seen, self.arrays, np.eye(3), slow, None, None, None,
        )  # type: ignore[arg-type]  # fmt: skip

    def _systems(self, trial: int, slow: np.ndarray, widen: float) -> Iterator[tuple]:
        """Normal equations of a trial's chunks in order of time, a few computed ahead."""
        motion = self.motions[trial]

        def make(chunk: int) -> tuple:
            with jax.enable_x64(True):
                active = motion.active[chunk * motion.own : (chunk + 1) * motion.own + ORDER].astype(float)
                made = self.solver.system(self._chunk(trial, chunk, slow), float(motion.is_last(chunk)), active, widen)
                return jax.block_until_ready(made)

        ahead: deque[Future] = deque()
        for chunk in range(motion.chunks):
            ahead.append(self._pool.submit(make, chunk))
            if len(ahead) > 2 * WORKERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _padded(
    slots: int, motion: SplineMotion, chunk: int, trial: Trial, information: np.ndarray, rho: np.ndarray
) -> tuple[Observations, np.ndarray, np.ndarray]:
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
        return Observations(*seen, PointObservations(*(filled(part) for part in trial.points))), u, valid
    return Observations(*seen, None, filled(rho / (1 - rho**2))), u, valid


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
    if config.fit.trajectory == "explicit":
        options = replace(options, spacing_s=1 / rig.frame_rate_hz)
    longest = max(_most_frames(trial, options.spacing_s) for trial in rig.trials)
    usual = int(np.ceil(CHUNK_INTERVALS * options.spacing_s * rig.frame_rate_hz)) + 2
    return replace(
        options,
        frames=max(longest, usual),
        knots=CHUNK_INTERVALS + ORDER,
        leaving_frames=1,
        refine_cameras=True,
    )


def _most_frames(trial: Trial, spacing_s: float) -> int:
    """The most frames that a chunk holds."""
    return int(np.bincount(np.floor(trial.time_s / spacing_s / CHUNK_INTERVALS).astype(int)).max())
