"""The window solver: its derivatives, its exactness on linear problems, its robustness."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from core_example import ARM, SLIDER, central, mujoco_points, qpos_of, ring, toy

from biomech_fit.core import linear
from biomech_fit.core.body import BodyModel
from biomech_fit.core.camera import Camera
from biomech_fit.core.frame_terms import on_control_points
from biomech_fit.core.program import program
from biomech_fit.core.projection import camera_arrays
from biomech_fit.core.residuals import CAMERA_STATES, Observations
from biomech_fit.core.result import Readout, Result
from biomech_fit.core.solver import Frame, WindowSolver
from biomech_fit.core.window import SlowPrior, Window, append, empty_window, poses_at
from biomech_fit.core.window_costs import SolverOptions
from biomech_fit.core.window_readout import read_out

FOREVER_S = 1e12


def options(**changes) -> SolverOptions:
    base = SolverOptions(frames=12, knots=8, leaving_frames=4, refine_cameras=False, kernel="none", has_distortion=False, memory_s=FOREVER_S)
    return replace(base, **changes)


def solver_of(body: BodyModel, cameras: list[Camera], chosen: SolverOptions) -> WindowSolver:
    return WindowSolver(body, len(cameras), chosen)


def prior_of(solver: WindowSolver, cameras: int = 0) -> SlowPrior:
    """Scales 0.1, offsets 0.02 m, cameras 0.02 rad, 0.02 m, 5 ms."""
    std = np.r_[np.full(solver.layout.n_scales, 0.1), np.full(3 * solver.layout.n_keypoints, 0.02), np.tile(np.r_[np.full(6, 0.02), 0.005], cameras)]
    return SlowPrior(np.zeros(len(std)), np.diag(std**-2))


def converted(window: Window, dtype) -> Window:
    """All arrays in one precision; the head stays on the host, as the solver keeps it."""
    return jax.tree.map(lambda a: a if a.dtype == bool else jnp.asarray(np.asarray(a), dtype), window._replace(head=None))._replace(head=window.head)


def affine_rig() -> list[Camera]:
    """Three cameras ten thousand kilometres away with the lens to match: pixels are linear in the points to 1e-7."""
    far, out = 1e7, []
    for camera in ring(3, lens=False):
        centre = camera.centre + (far - 4) * -camera.rotation[2]
        out.append(replace(camera, matrix=np.array([[250 * far, 0, 640], [0, 250 * far, 500], [0, 0, 1]]), translation=-camera.rotation @ centre))
    return out


# --- the sliding window against one long one ----------------------------------------------------------------------------------------------------


def test_a_sliding_window_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a linear-Gaussian problem (slides, affine cameras, no robust kernel) marginalisation is exact: after the window has moved on eleven times its
    estimates and covariances are those of one window over everything. float64, without the jitter that float32 needs: 1e-6 of each is rounding, and
    what the cameras' finite distance leaves."""
    monkeypatch.setattr(linear, "JITTER", 1e-13)
    rng = np.random.default_rng(0)
    cameras, body = affine_rig(), toy(SLIDER, [1, 1, 1, 1], 2, rng)
    count, chosen = 34, options(frames=14)
    u = chosen.knots - 3.5 + 0.47 * np.arange(count) + rng.uniform(-0.1, 0.1, count)
    u.sort()
    shifts = int(np.floor(u[-1])) - (chosen.knots - 4)
    assert shifts > 10
    path = 0.3 * np.sin(0.2 * u[:, None] + np.arange(3))
    truth = np.stack([mujoco_points(body.mj_model, x, body.keypoint_body, body.keypoint_position) for x in path])
    uv = np.stack([c.project(truth.reshape(-1, 3)).reshape(count, -1, 2) for c in cameras], 1) + rng.standard_normal((count, 3, 4, 2))
    information = rng.uniform(0.1, 1.0, (count, 3, 4)) * (rng.random((count, 3, 4)) > 0.3)
    delay = np.zeros((count, 3))
    late = 10  # the fourth newest frame, in both windows
    with jax.enable_x64(True):
        one = jnp.asarray(1.0)
        sliding = solver_of(body, cameras, chosen)
        prior = prior_of(sliding)
        x0, slow0 = path[0] + 0.1, np.zeros(sliding.layout.size)

        def fresh(knots: int, frames: int) -> Window:
            return converted(empty_window(knots, frames, x0, np.eye(3), camera_arrays(cameras, jnp.float64), 4, prior, slow0), jnp.float64)

        window, moved = fresh(chosen.knots, chosen.frames), 0
        for i in range(count):
            while u[i] - moved >= chosen.knots - 3:
                window, moved = sliding.shift(window), moved + 1
            frame = Frame(uv[i], information[i], delay[i], one, jnp.asarray(u[i] - moved), jnp.asarray(late))
            window, result, held = sliding.advance(window, frame, 8, 1.0)
        assert moved == shifts and np.all(np.asarray(window.u)[np.asarray(window.valid) > 0] >= 0)

        whole = solver_of(body, cameras, replace(chosen, frames=count, knots=chosen.knots + shifts))
        batch = fresh(chosen.knots + shifts, count)
        for i in range(count - 1):
            batch = append(batch, Observations(uv[i], information[i], delay[i], one), jnp.asarray(u[i]))
        slot = jnp.asarray(late + count - chosen.frames)
        frame = Frame(uv[-1], information[-1], delay[-1], one, jnp.asarray(u[-1]), slot)
        _, best, best_held = whole.advance(batch, frame, 40, 1.0)
    for name in ("x", "velocity", "keypoints", "joint_centres"):
        np.testing.assert_allclose(getattr(result.frames, name), getattr(best.frames, name), atol=1e-6)
    np.testing.assert_allclose(result.slow, best.slow, atol=1e-7)
    for found, wanted in (
        (result.frames.covariance, best.frames.covariance),
        (result.frames.keypoint_covariance, best.frames.keypoint_covariance),
        (held.share.slow, best_held.share.slow),
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(np.asarray(wanted)).max())


# --- derivatives ------------------------------------------------------------------------------------------------------------------------------------


def test_the_normal_equations_are_the_derivatives_of_the_cost() -> None:
    """All Jacobians at once: pose (through the spline), scales, offsets, cameras; the clock's only in the gradient of an undelayed frame.

    With random residuals the right side is minus the cost's gradient; with none the matrix is the derivative of the right side. float64, steps of 1e-6.
    """
    rng = np.random.default_rng(1)
    cameras, body = ring(3), toy(ARM, [1, 2, 3, 3], 2, rng)
    with jax.enable_x64(True):
        solver = solver_of(body, cameras, options(frames=4, knots=5, leaving_frames=2, refine_cameras=True, has_distortion=True))
        m, n, knots = solver.layout.size, body.mj_model.nv, 5
        slow = 0.01 * rng.standard_normal(m)
        # Two approximations are wanted: the velocity's own derivative (felt with a clock offset), and exp(w + d) taken as exp(d) exp(w) for cameras.
        cameras_at = slow[solver.layout.cameras].reshape(-1, CAMERA_STATES)
        cameras_at[:, [0, 1, 2, 6]] = 0.0
        control = 0.2 * rng.standard_normal((knots, n)) + np.r_[0, 0, 1, np.zeros(n - 3)]
        window = empty_window(knots, 4, control[0], np.eye(3), camera_arrays(cameras, jnp.float64), 4, prior_of(solver, 3), slow)
        window = window._replace(control=control, u=np.array([0.1, 0.6, 1.2, 1.9]), valid=np.array([0.0, 1.0, 1.0, 1.0]))
        window = window._replace(observed=window.observed._replace(information=rng.uniform(0.1, 1, (4, 3, 4)), share=np.ones(4)))
        window = converted(window, jnp.float64)
        x, _ = poses_at(window)
        predicted = _read(solver, window, [3, 1], _nothing(solver, 2)).uv
        assert np.isfinite(predicted).all() and x.shape == (4, n)

        @program
        def normal(z, uv):
            w = window._replace(control=z[: knots * n].reshape(knots, n), slow=z[knots * n :], observed=window.observed._replace(uv=uv))
            lin = solver.costs.linearise(w, jnp.asarray(1.0))
            system = on_control_points(w, lin)
            return lin.cost, jnp.concatenate([system.rhs.reshape(-1), lin.corner_rhs]), _dense(system)

        z = np.concatenate([control.reshape(-1), slow])
        pixels = np.stack([np.asarray(_pixels(solver, window, t)) for t in range(4)])
        noisy = jnp.asarray(pixels + 5 * rng.standard_normal(pixels.shape))
        _, rhs, _ = normal(z, noisy)
        gradient = central(lambda v: normal(v, noisy)[0], z)
        np.testing.assert_allclose(rhs, -gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())
        exact = jnp.asarray(pixels)
        cost, rhs, matrix = normal(z, exact)
        assert float(cost) < 1e-9 and np.abs(rhs).max() < 1e-9 * np.abs(gradient).max() + 1e-3
        slope = -central(lambda v: normal(v, exact)[1], z)
    # A column of the clock is compared too: without residuals and delay its derivative is exact, but the others' by the clock lack the velocity's slope.
    clock = knots * n + np.arange(solver.layout.cameras.start + 6, m, CAMERA_STATES)
    size = np.sqrt(np.diag(matrix))
    error = np.abs(np.asarray(matrix) - slope) / (size[:, None] * size + 1e-9)
    assert error.max() < 1e-5, np.unravel_index(error.argmax(), error.shape)
    assert np.all(size[clock] > 0)


def test_keypoint_covariances_are_carried_over() -> None:
    """Against J S J^T with a made-up joint covariance S of pose and slow states, and J by central differences of the keypoints themselves."""
    rng = np.random.default_rng(3)
    cameras, body = ring(3), toy(ARM, [1, 2, 3, 3], 2, rng)
    with jax.enable_x64(True):
        solver = solver_of(body, cameras, options(frames=4, knots=5, leaving_frames=2))
        n, m = body.mj_model.nv, solver.layout.size
        z = np.r_[0.2 * rng.standard_normal(n) + np.r_[0, 0, 1, np.zeros(n - 3)], 0.02 * rng.standard_normal(m)]

        def keypoints(z: np.ndarray, solution: linear.ArrowSolution):
            window = empty_window(5, 4, z[:n], np.eye(3), camera_arrays(cameras, jnp.float64), 4, prior_of(solver), z[n:])
            window = converted(window._replace(u=np.array([0.1, 0.6, 1.2, 1.9])), jnp.float64)
            window = window._replace(control=jnp.tile(jnp.asarray(z[:n]), (5, 1)), slow=jnp.asarray(z[n:]))
            return _read(solver, window, [3, 1], solution)

        root = 0.01 * rng.standard_normal((n + m, n + m))
        joint = root @ root.T
        two = (jnp.asarray(np.stack([part, part])) for part in (joint[:n, :n], joint[:n, n:]))
        nothing = _nothing(solver, 2)
        pose, pose_slow = two
        share = linear.SlowShare(0 * pose, pose_slow, jnp.asarray(joint[n:, n:]))
        got = np.asarray(keypoints(z, nothing._replace(pose_alone=pose, share=share)).keypoint_covariance)
        slope = central(lambda v: np.asarray(keypoints(v, nothing).keypoints[0]).reshape(-1), z)
    slope = slope.reshape(4, 3, n + m)
    np.testing.assert_allclose(got[0], slope @ joint @ np.swapaxes(slope, 1, 2), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(got[1], got[0], rtol=1e-9)


def _dense(system: linear.ArrowSystem) -> jax.Array:
    return linear.assemble_dense(system)[0]


def _read(solver: WindowSolver, window: Window, slots: list[int], solution: linear.ArrowSolution) -> Readout:
    return read_out(solver.costs, window, jnp.asarray(slots), solution.pose, solution.share)


def _nothing(solver: WindowSolver, frames: int) -> linear.ArrowSolution:
    n, m, q = solver.costs.kinematics.n_coordinates, solver.layout.size, solver.options.knots
    zeros = jnp.zeros
    share = linear.SlowShare(zeros((frames, n, n)), zeros((frames, n, m)), zeros((m, m)))
    return linear.ArrowSolution(zeros((q, n)), zeros(m), zeros((frames, n, n)), share)


def _pixels(solver: WindowSolver, window: Window, slot: int) -> jax.Array:
    """(C, K, 2) what the solver predicts for a slot."""
    return _read(solver, window, [slot], _nothing(solver, 1)).uv[0]


# --- what it does ---------------------------------------------------------------------------------------------------------------------------------------


class Scene:
    """A toy arm that moves before four cameras; exact pixels from MuJoCo C and OpenCV."""

    def __init__(self, count: int = 16):
        rng = np.random.default_rng(7)
        self.cameras, self.body = ring(4), toy(ARM, [1, 1, 1, 2, 2, 3, 3], 2, rng)
        self.arrays = camera_arrays(self.cameras)
        n = self.body.mj_model.nv
        phase = rng.uniform(0, 6, n)
        self.u = 8 - 3.5 + 0.5 * np.arange(count)
        self.path = 0.3 * np.sin(0.15 * self.u[:, None] + phase)
        self.path[:, 2] += 1.0
        self.reference = np.eye(3)
        self.points = np.stack(
            [mujoco_points(self.body.mj_model, qpos_of(self.body, x, self.reference), self.body.keypoint_body, self.body.keypoint_position) for x in self.path]
        )
        self.uv = np.stack([c.project(self.points.reshape(-1, 3)).reshape(count, -1, 2) for c in self.cameras], 1)

    def run(self, solver: WindowSolver, uv: np.ndarray, information: np.ndarray, start: np.ndarray, widen: float = 1.0, slow: np.ndarray | None = None):
        """All frames one by one; the results and the last window."""
        f32, results, moved = np.float32, [], 0
        c, k = uv.shape[1:3]
        slow = np.zeros(solver.layout.size) if slow is None else slow
        window = empty_window(8, 12, start, self.reference, self.arrays, k, prior_of(solver, c if solver.layout.n_cameras else 0), slow)
        for i, u in enumerate(self.u):
            while u - moved >= 5:
                window, moved = solver.shift(window), moved + 1
            steps, wide = (20, widen) if i == 0 else (3, 1.0)
            frame = Frame(f32(uv[i]), f32(information[i]), f32(np.zeros(c)), f32(1), f32(u - moved), np.int32(9))
            window, result, _ = solver.advance(window, frame, steps, wide)
            results.append(jax.device_get(result))
        return window, results


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="module")
def robust(scene: Scene) -> WindowSolver:
    return solver_of(scene.body, scene.cameras, options(kernel="geman_mcclure", has_distortion=True))


def keypoint_error_mm(scene: Scene, results: list[Result]) -> np.ndarray:
    """(T,) the largest of each frame."""
    return np.array([1e3 * np.linalg.norm(r.frames.keypoints[0] - p, axis=1).max() for r, p in zip(results, scene.points, strict=True)])


def test_exact_pixels_give_the_exact_pose_from_a_poor_start(scene: Scene, robust: WindowSolver) -> None:
    """Motion prior, body prior and a spline of 33 ms leave less than 2 mm of what is exactly seen; the start is 0.3 rad and 0.2 m off."""
    rng = np.random.default_rng(1)
    off = np.r_[0.2 * np.ones(3), 0.3 * rng.choice([-1, 1], len(scene.path[0]) - 3)]
    _, results = scene.run(robust, scene.uv, np.ones(scene.uv.shape[:-1]), scene.path[0] + off, widen=8.0)
    assert keypoint_error_mm(scene, results)[2:].max() < 2.0
    for r in results:
        for c, camera in enumerate(scene.cameras):  # what it says of pixels is OpenCV's projection of what it says of points
            np.testing.assert_allclose(r.frames.uv[0, c], camera.project(r.frames.keypoints[0]), atol=0.05)


def test_a_start_takes_no_more_steps_than_it_needs(scene: Scene, robust: WindowSolver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is 8 times too wide, and narrow after six steps; then one that moves little is the last. Without a wide kernel the number is the caller's."""
    taken, one = [], robust._advance_compiled
    monkeypatch.setattr(robust, "_advance_compiled", lambda *a: taken.append(float(a[2])) or one(*a))
    f32, (c, k) = np.float32, scene.uv.shape[1:3]
    window = empty_window(8, 12, scene.path[0], scene.reference, scene.arrays, k, prior_of(robust, 0), np.zeros(robust.layout.size))
    frame = Frame(f32(scene.uv[0]), np.full((c, k), 1 / 16, f32), np.zeros(c, f32), f32(1), f32(scene.u[0]), np.int32(9))
    window, result, _ = robust.advance(window, frame, 40, 8.0)
    assert taken[0] == 8.0 and taken[-1] == 1.0 and 7 <= len(taken) < 40
    assert np.abs(np.asarray(window.last_step)).max() < 3e-3
    np.testing.assert_allclose(result.frames.keypoints[0], scene.points[0], atol=2e-3)
    taken.clear()
    robust.advance(window, frame._replace(u=f32(-1)), 3, 1.0)
    assert len(taken) == 3


@pytest.mark.parametrize("renewed_share, close", [(1.0, 0.005), (1 / 3, 0.06)])
def test_holding_the_slow_states_is_a_step_with_slow_states_that_are_known(scene: Scene, renewed_share: float, close: float) -> None:
    """Where a firm prior holds them, a frame that moves them and one that does not give the same, but for float32: to `close` standard deviations and 1 %.
    What is carried over from earlier steps, of the older frames, adds some hundredths."""
    solver = solver_of(scene.body, scene.cameras, options(kernel="geman_mcclure", has_distortion=True, refine_cameras=True, renewed_share=renewed_share))
    f32, (c, k), m = np.float32, scene.uv.shape[1:3], solver.layout.size
    uv = f32(scene.uv + np.random.default_rng(5).standard_normal(scene.uv.shape))
    firm = SlowPrior(np.zeros(m, f32), f32(1e10 * np.eye(m)))

    def run(hold: bool) -> list[Result]:
        results, moved, held = [], 0, None
        window = empty_window(8, 12, scene.path[0], scene.reference, scene.arrays, k, firm, np.zeros(m))
        for i, u in enumerate(scene.u):
            while u - moved >= 5:
                window, moved = solver.shift(window), moved + 1
            frame = Frame(uv[i], np.ones((c, k), f32), np.zeros(c, f32), f32(1), f32(u - moved), np.int32(9))
            if hold and i % 3:
                window, result, held = solver.advance_held(window, frame, held)
            else:
                window, result, held = solver.advance(window, frame, 20 if i == 0 else 1, 1.0)
            results.append(jax.device_get(result))
        return results

    for a, b in zip(run(True), run(False), strict=True):
        std = np.sqrt(np.diagonal(b.frames.covariance, axis1=1, axis2=2))
        assert np.abs((a.frames.x - b.frames.x) / std).max() < close
        np.testing.assert_allclose(np.sqrt(np.diagonal(a.frames.covariance, axis1=1, axis2=2)), std, rtol=0.01)


def test_a_frame_that_is_far_is_approached_first(scene: Scene) -> None:
    """After a jump of 0.15 rad in every joint: one step alone leaves the newest pose where its linearisation does, two come near to where many end,
    and it does as well when the first of them moves the newest control points alone. Nothing but these poses is changed by that."""
    solver = solver_of(scene.body, scene.cameras, options(refine_cameras=True, has_distortion=True))
    f32, (c, k), m, n = np.float32, scene.uv.shape[1:3], solver.layout.size, scene.body.mj_model.nv
    firm = SlowPrior(np.zeros(m, f32), f32(1e10 * np.eye(m)))
    jump = scene.path[9] + np.r_[np.zeros(6), np.full(n - 6, 0.15)]
    points = mujoco_points(scene.body.mj_model, qpos_of(scene.body, jump, scene.reference), scene.body.keypoint_body, scene.body.keypoint_position)
    uv = f32(np.stack([camera.project(points) for camera in scene.cameras]))

    def newest(first: str, more: int) -> np.ndarray:
        window, held = empty_window(8, 12, scene.path[0], scene.reference, scene.arrays, k, firm, np.zeros(m)), None
        for i in range(9):
            frame = Frame(f32(scene.uv[i]), np.ones((c, k), f32), np.zeros(c, f32), f32(1), f32(4.5 - 0.5 * (8 - i)), np.int32(9))
            window, _, held = solver.advance(window, frame, 2, 1.0)
        frame = frame._replace(uv=uv, u=f32(4.9))
        if first == "approach":
            before = np.array(window.control)
            window, held = solver.approach(window, frame, held)
            assert np.array_equal(np.asarray(window.control)[:2], before[:2]) and not np.array_equal(np.asarray(window.control)[-4:], before[-4:])
        else:
            window, result, held = solver.advance_held(window, frame, held)
        for _ in range(more):
            window, result, held = solver.advance_held(window, frame._replace(u=f32(-1)), held)
        return np.asarray(result.frames.x[0])

    end = newest("held", 12)
    one, two, approached = (np.abs(newest(*how) - end).max() for how in (("held", 0), ("held", 1), ("approach", 1)))
    assert approached < 0.1 * one and approached < 2 * two


def test_outliers_do_not_pull(scene: Scene, robust: WindowSolver) -> None:
    """A quarter of the detections 200 px away: the keypoints stay within 5 mm of where they are without (one camera's worth of outliers per point)."""
    rng = np.random.default_rng(2)
    uv = scene.uv.copy()
    wrong = rng.integers(0, 4, uv.shape[:1] + uv.shape[2:3])
    for t in range(uv.shape[0]):
        for k in range(uv.shape[2]):
            uv[t, wrong[t, k], k] += 200 * rng.choice([-1, 1], 2)
    _, results = scene.run(robust, uv, np.ones(uv.shape[:-1]), scene.path[0])
    assert keypoint_error_mm(scene, results)[2:].max() < 5.0


def test_the_window_is_only_solved_again_when_no_frame_comes(scene: Scene, robust: WindowSolver) -> None:
    window, _ = scene.run(robust, scene.uv, np.full(scene.uv.shape[:-1], 1 / 16), scene.path[0])
    before = jax.device_get(window)
    f32, (c, k) = np.float32, scene.uv.shape[1:3]
    nothing = Frame(np.full((c, k, 2), 9, f32), np.ones((c, k), f32), np.zeros(c, f32), f32(1), f32(-1), np.int32(4))
    again, result, _ = robust.advance(window, nothing, 1, 1.0)
    np.testing.assert_array_equal(again.u, before.u)
    for new, old in zip(again.observed, before.observed, strict=True):
        np.testing.assert_array_equal(new, old)
    # The lagged frame of the call is slot 4: it is where the scene was eight frames before the newest.
    np.testing.assert_allclose(result.frames.keypoints[1], scene.points[-8], atol=2e-3)


def test_unseen_frames_are_predicted_and_less_sure(scene: Scene, robust: WindowSolver) -> None:
    information = np.full(scene.uv.shape[:-1], 1 / 16)
    information[11:] = 0.0
    _, results = scene.run(robust, scene.uv, information, scene.path[0])
    std = np.array([np.sqrt(np.trace(r.frames.keypoint_covariance[0], axis1=1, axis2=2).mean() / 3) for r in results])
    assert np.all(np.isfinite(std)) and np.all(np.diff(std[10:]) > 0) and std[-1] > 3 * std[10]
    assert keypoint_error_mm(scene, results)[11] < 10


def test_nothing_observed_at_all_gives_numbers(scene: Scene, robust: WindowSolver) -> None:
    _, results = scene.run(robust, scene.uv, np.zeros(scene.uv.shape[:-1]), scene.path[0])
    assert all(np.isfinite(a).all() for r in results for a in jax.tree.leaves(r))
    np.testing.assert_allclose(results[-1].frames.x[0], scene.path[0], atol=1e-3)


def test_the_dense_solver_fits_in(scene: Scene, robust: WindowSolver) -> None:
    """A GPU's choice; that both give the same numbers is tested where they are."""
    dense = solver_of(scene.body, scene.cameras, replace(robust.options, linear_solver="dense"))
    window = empty_window(8, 12, scene.path[0], scene.reference, scene.arrays, 7, prior_of(dense), np.zeros(dense.layout.size))
    f32 = np.float32
    frame = Frame(f32(scene.uv[0]), f32(np.ones((4, 7))), f32(np.zeros(4)), f32(1), f32(4.5), np.int32(9))
    shapes = [jax.tree.map(lambda a: (a.shape, a.dtype), jax.eval_shape(s._advance, window, frame, f32(1))) for s in (robust, dense)]
    assert shapes[0] == shapes[1]


def test_keypoints_that_the_body_lacks_are_refused(scene: Scene) -> None:
    lacking = replace(scene.body, keypoint_body=np.where(np.arange(7) == 3, -1, scene.body.keypoint_body))
    with pytest.raises(ValueError, match="only keypoints that the body model has"):
        solver_of(lacking, scene.cameras, options())
