"""The network as a trial's motion: trained on the same costs as the structured solve, all trials and the slow states together.

Every step takes random moments of every trial. The costs and their derivatives by poses and slow states are those of `core.window_costs`; what is new is only
how poses come about, and that steps are AdamW's (Loshchilov & Hutter 2019) with an exponentially falling rate and updates of bounded length. The slow states
are moved in units of their standard deviation at the start. Trained networks are put onto the spline, from which poses, rates and covariances are read as
from any other solution; the covariances are those of the structured solve linearised there, so they know its motion prior, which the network does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from scipy.spatial.transform import Rotation

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.implicit import SLACK_S, Extent, ImplicitMotion, Parameters, octaves
from biomech_fit.core.program import program
from biomech_fit.core.projection import CameraArrays
from biomech_fit.core.residuals import Observations
from biomech_fit.core.window import Window
from biomech_fit.core.window_costs import WindowCosts
from biomech_fit.offline.solve import OfflineSolve
from biomech_fit.offline.trial import Trial

BATCH_FRAMES = 300
"""Moments of each trial in a step."""
RATE, SLOW_RATE, FALL = 1e-3, 0.03, 0.01
"""Of the networks' steps and of the slow states' (in their standard deviations) at the beginning, and what is left of both at the end."""
LONGEST_UPDATE = 0.1
GUESS_STEPS, GUESS_RATE = 600, 3e-3
"""With which the networks first learn the stream's motion."""
AGAIN = 0.4
"""A solution that is renewed takes so many steps of the first one's, at this share of its rate."""
WIDTHS = {"4x64": (64,) * 4, "3x128": (128,) * 3, "paper": (128, 256, 512, 1024, 2048, 2048, 4096)}
SMALL_UP_TO_S = 5.0
"""Where a trial is longer, all have the larger one of the two small networks."""


@dataclass(eq=False)
class _Member:
    """One trial in training."""

    rig: int
    index: np.ndarray
    """(M,) where its slow states are among all."""
    extent: Extent
    frames: int
    parameters: Parameters


class NetworkTrajectories:
    """A network for each trial of `solve`, whose motions and slow states `train` sets.

    Args:
        solve: it starts from its trials' first guesses and its slow states.
        config: settings; `fit.network` and `fit.network_steps` are meant.
        say: is told how it goes.
    """

    def __init__(self, solve: OfflineSolve, config: FitConfig, say: Callable[[str], None]):
        self._solve, self._config, self._say = solve, config, say
        self._trainings = 0
        trials = [trial for rig in solve.rigs for trial in rig.trials]
        longest = max(float(trial.time_s[-1]) for trial in trials)
        size = ("4x64" if longest <= SMALL_UP_TO_S else "3x128") if config.fit.network == "auto" else config.fit.network
        self._motion = ImplicitMotion(solve.body, WIDTHS[size], octaves(longest))
        self._batch = min(BATCH_FRAMES, max(len(trial.stamp_ns) for trial in trials))
        self._derivatives = [program(_derivatives(self._motion, solve.costs_of(r))) for r in range(len(solve.rigs))]
        self._optimiser = optax.chain(optax.scale_by_adam(b1=0.8), optax.add_decayed_weights(1e-5)), optax.scale_by_adam()
        self._update, self._outputs = program(self._moved), program(self._motion.outputs)
        self._state: Any = None
        learn = program(_guess_learner(self._motion))
        key = jax.random.PRNGKey(0)
        self._members: list[_Member] = []
        for r, rig in enumerate(solve.rigs):
            for t, trial in enumerate(rig.trials):
                key, own = jax.random.split(key)
                extent = Extent(np.float32(longest + SLACK_S), _centre(solve.body, trial))
                some = np.linspace(0, len(trial.stamp_ns) - 1, self._batch).round().astype(int)
                parameters = learn(self._motion.initial(own), extent, np.float32(trial.time_s[some]), *(a[some] for a in _targets(solve.body, trial)))
                self._members.append(_Member(r, solve.slow_index(r, t), extent, len(trial.stamp_ns), parameters))

    def train(self) -> float:
        """Networks and slow states, from where they are. Returns the cost over all frames, as the last steps saw it."""
        solve, share = self._solve, AGAIN if self._trainings else 1.0
        steps = max(1, round(self._config.fit.network_steps * share))
        self._put()
        solve.know_slow()
        start, units = solve.slow.copy(), np.linalg.cholesky(solve.covariance)
        parameters, place = [member.parameters for member in self._members], jnp.zeros(len(start), jnp.float32)
        # The networks' moments are kept from training to training: without them the first steps would undo what was reached.
        state = self._state or self._optimiser[0].init(parameters), self._optimiser[1].init(place)
        rng, recent = np.random.default_rng(self._trainings), np.nan
        observed = self._observations()
        cameras = [CameraArrays(*(np.asarray(a, a.dtype if a.dtype == bool else np.float32) for a in solve.arrays_of(r))) for r in range(len(solve.rigs))]
        for step in range(steps):
            solve.slow = start + units @ np.asarray(place, float)
            total, gradients, slow_gradient = 0.0, [], -solve.slow_prior()[1]
            for member, own, (time_s, seen) in zip(self._members, parameters, observed, strict=True):
                chosen = np.sort(rng.choice(member.frames, self._batch, replace=member.frames < self._batch))
                some = Observations(*(a[chosen] for a in seen[:4]))
                slow, more = np.float32(solve.slow[member.index]), np.float32(member.frames / self._batch)
                each_s = np.float32(time_s[-1] / self._batch)
                cost, by_net, by_slow = self._derivatives[member.rig](own, member.extent, slow, cameras[member.rig], time_s[chosen], each_s, some)
                gradients.append(by_net)
                slow_gradient[member.index] += more * np.asarray(by_slow, float)
                total += more * float(cost)
            rate = share * FALL ** (step / steps)
            parameters, place, state = self._update(parameters, place, state, gradients, np.float32(units.T @ slow_gradient), np.float32(rate))
            recent = total if np.isnan(recent) else recent + 0.05 * (total - recent)
            if (step + 1) % max(1, steps // 5) == 0:
                self._say(f"Network: step {step + 1} of {steps}, cost {recent:.0f}")
        for member, own in zip(self._members, parameters, strict=True):
            member.parameters = own
        self._state, self._trainings = state[0], self._trainings + 1
        self._put()
        return recent

    def _moved(self, parameters: Any, place: Array, state: Any, gradients: Any, slow_gradient: Array, rate: Array) -> tuple[Any, Array, Any]:
        """One step of the networks and of the slow states."""
        nets, slow = self._optimiser
        direction, own = nets.update(gradients, state[0], parameters)
        change = jax.tree.map(lambda d: -RATE * rate * d, direction)
        change, _ = optax.clip_by_global_norm(LONGEST_UPDATE).update(change, optax.EmptyState())
        slow_direction, theirs = slow.update(slow_gradient, state[1])
        return optax.apply_updates(parameters, change), place - SLOW_RATE * rate * slow_direction, (own, theirs)

    def _observations(self) -> list[tuple[np.ndarray, Observations]]:
        """Times and detections of each trial."""
        out = []
        for rig in self._solve.rigs:
            for trial in rig.trials:
                information = trial.information(rig.noise, self._config.noise.pixel_sigma_px)
                arrays = (trial.xy, information, trial.delay_s, trial.share(rig.noise))
                out.append((np.float32(trial.time_s), Observations(*(np.float32(a) for a in arrays))))
        return out

    def _put(self) -> None:
        """The networks' motions onto the splines."""
        motions = [motion for own in self._solve.motions for motion in own]
        for member, motion in zip(self._members, motions, strict=True):
            place, quat, joints = (np.asarray(a, float) for a in self._outputs(member.parameters, member.extent, np.float32(motion.sites_s())))
            if self._motion.free_root:
                motion.take(np.concatenate([place, np.zeros_like(place), joints], 1), Rotation.from_quat(np.roll(quat, -1, axis=1)).as_matrix())
            else:
                motion.take(joints, None)


def _derivatives(motion: ImplicitMotion, costs: WindowCosts) -> Callable[..., tuple[Array, Parameters, Array]]:
    """(parameters, extent, slow (M,), cameras, times (T,), what each stands for (s), observations) -> these frames' cost, and its derivatives by parameters
    and slow states."""
    spacing = costs.options.spacing_s

    def derivatives(
        parameters: Parameters, extent: Extent, slow: Array, cameras: CameraArrays, time_s: Array, each_s: Array, observed: Observations
    ) -> tuple[Array, Parameters, Array]:
        def poses(own: Parameters) -> tuple[tuple[Array, Array], Array]:
            moment = motion.at(own, extent, time_s)
            return (moment.x, moment.rate * spacing), moment.reference

        (x, by_u), pull, reference = jax.vjp(poses, parameters, has_aux=True)
        none: Any = None
        valid = jnp.any(observed.information > 0, (1, 2)).astype(x.dtype)
        window = Window(none, none, reference, none, valid, observed, cameras, jnp.eye(3), slow, none, none, none)
        linear = costs.linearise_at(x, by_u, window, jnp.float32(1.0))
        by_pose = costs.pose_terms(x, each_s)[1] - linear.poses.rhs
        by_rate = jnp.zeros_like(x) if linear.poses.rate_rhs is None else -linear.poses.rate_rhs
        return linear.cost, pull((by_pose, by_rate))[0], -linear.corner_rhs

    return derivatives


def _guess_learner(motion: ImplicitMotion) -> Callable[..., Parameters]:
    """(weights, extent, times (T,), places, quaternions, joints) -> weights with which the network follows them."""
    optimiser = optax.chain(optax.adamw(optax.exponential_decay(GUESS_RATE, GUESS_STEPS, 0.05), b1=0.8), optax.clip_by_global_norm(LONGEST_UPDATE))

    def learn(parameters: Parameters, extent: Extent, time_s: Array, place: Array, quat: Array, joints: Array) -> Parameters:
        def loss(own: Parameters) -> Array:
            p, q, x = motion.outputs(own, extent, time_s)
            return jnp.mean((x - joints) ** 2) + 10 * (jnp.mean((q - quat) ** 2) + jnp.mean((p - place) ** 2))

        def step(_: int, carry: tuple[Parameters, Any]) -> tuple[Any, Any]:
            own, state = carry
            change, state = optimiser.update(jax.grad(loss)(own), state, own)
            return optax.apply_updates(own, change), state

        return jax.lax.fori_loop(0, GUESS_STEPS, step, (parameters, optimiser.init(parameters)))[0]

    return learn


def _centre(body: BodyModel, trial: Trial) -> np.ndarray:
    return np.float32(trial.guess[:, :3].mean(0) if body.has_free_root else np.zeros(3))


def _targets(body: BodyModel, trial: Trial) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first guess as `ImplicitMotion.outputs` has it."""
    if not body.has_free_root:
        frames = len(trial.guess)
        return np.zeros((frames, 3), np.float32), np.tile(np.float32([1, 0, 0, 0]), (frames, 1)), np.float32(trial.guess)
    quat = np.roll(Rotation.from_matrix(trial.turn).as_quat(), 1, axis=1)
    # Without changes of sign, and the first with w >= 0.
    flips = np.cumprod(np.r_[1.0 if quat[0, 0] >= 0 else -1.0, np.where(np.sum(quat[1:] * quat[:-1], 1) < 0, -1.0, 1.0)])
    return np.float32(trial.guess[:, :3]), np.float32(quat * flips[:, None]), np.float32(trial.guess[:, 6:])
