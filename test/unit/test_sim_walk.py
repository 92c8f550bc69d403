"""The simulated walk: published curves, planted feet, smooth motion, OpenSim coordinates."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from biomech_fit.core.opensim_axes import pelvis_angles, world_to_opensim
from biomech_fit.core.quaternions import quat_to_matrix
from biomech_fit.core.types import EventType, Side
from biomech_fit.sim import gait_curves
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.planting import PLANNED, STATE, Legs, root_quaternion, root_rotation
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.sim.subject import body_points
from biomech_fit.sim.walker import sole_points

MCGILL = Path(__file__).resolve().parents[3] / "shared" / "data" / "mcgill_walking"


@pytest.fixture(scope="module")
def walk() -> Simulation:
    return simulate(SimConfig(seconds=8.0, cameras=2, seed=4))


def _soles(sim: Simulation, time_s: np.ndarray) -> np.ndarray:
    """(T, 6, 3): heel, ball, toe of the right and the left foot."""
    points = sole_points(sim.subject.mj_model, sim.subject.foot_points)
    return body_points(sim.subject.mj_model, sim.motion.qpos(time_s), np.array([b for b, _ in points]), np.array([p for _, p in points]))


def _planted(sim: Simulation, time_s: np.ndarray) -> np.ndarray:
    """(T, 6) bool, well inside the planned contacts."""
    grid = np.linspace(sim.motion.start_s, sim.motion.end_s, len(sim.motion.feet[0].phase))
    return np.stack([np.interp(time_s, grid, foot.weight[:, k]) > 0.98 for foot in sim.motion.feet for k in range(3)], axis=1)


def test_curves_pass_through_their_tables():
    for name, table in gait_curves.TABLES_DEG.items():
        values = np.rad2deg(gait_curves.curve(name, np.arange(20) / 20))
        # Eight of ten harmonics are kept: what is lost is less than the tables' own precision.
        assert np.max(np.abs(values - table)) < 1.5, name
        assert gait_curves.curve(name, np.array([3.3])) == pytest.approx(gait_curves.curve(name, np.array([0.3])), abs=1e-12)


def test_the_curves_second_half_mirrors_the_pelvis():
    phase = np.linspace(0, 1, 50)
    for name in ("pelvis_obliquity", "pelvis_rotation"):
        assert gait_curves.curve(name, phase + 0.5) == pytest.approx(-gait_curves.curve(name, phase), abs=1e-9)


@pytest.mark.parametrize(
    "settings",
    [{}, {"path": "eight", "speed_m_s": 0.9, "cadence_steps_min": 95.0}, {"path": "circle", "stop_for_s": 1.0, "stop_at_s": 2.0}, {"standing": 2.0}],
    ids=["shuttle", "slow eight", "stop", "standing first"],
)
def test_planted_feet_neither_slide_nor_sink(settings):
    sim = simulate(SimConfig(seconds=6.0, cameras=1, seed=2, **settings))
    time = np.arange(0, 6, 0.01)
    soles, planted = _soles(sim, time), _planted(sim, time)
    speed = np.linalg.norm(np.gradient(soles, 0.01, axis=0), axis=2)
    assert np.sqrt(np.mean(speed[planted] ** 2)) < 0.03  # m/s; the pelvis moves at 1.2
    assert np.abs(soles[..., 2][planted]).max() < 0.004
    assert soles[..., 2].min() > -0.004
    # In mid-swing the toe clears the floor.
    assert soles[:, 2, 2].max() > 0.04


def test_treadmill_feet_move_with_the_belt():
    sim = simulate(SimConfig(seconds=4.0, cameras=1, path="treadmill", speed_m_s=1.1))
    time = np.arange(0, 4, 0.01)
    soles, planted = _soles(sim, time), _planted(sim, time)
    velocity = np.gradient(soles, 0.01, axis=0)
    assert np.median(velocity[..., 0][planted]) == pytest.approx(-1.1, abs=0.01)
    assert np.ptp(sim.truth.qpos[:, 0]) < 0.1


def test_standing_is_still():
    sim = simulate(SimConfig(seconds=3.0, cameras=1, path="stand"))
    assert not sim.truth.events
    assert np.abs(np.gradient(sim.truth.keypoints, sim.truth.time_s, axis=0)).max() < 0.2
    assert np.abs(np.gradient(_soles(sim, sim.truth.time_s), sim.truth.time_s, axis=0)).max() < 0.005


def test_the_walk_stays_in_the_volume_and_inside_the_joint_ranges():
    sim = simulate(SimConfig(seconds=40.0, cameras=1, frame_rate_hz=20.0))
    assert np.ptp(sim.truth.qpos[:, 0]) < 4.0
    assert np.ptp(sim.truth.qpos[:, 1]) < 3.0
    hinges = sim.truth.coordinates[:, 6:]
    assert np.all(hinges > sim.body.lower[6:]) and np.all(hinges < sim.body.upper[6:])


def test_coordinates_are_opensims(walk):
    """Against the independent conversion in core and MuJoCo's own hinges."""
    truth = walk.truth
    rotation = quat_to_matrix(truth.qpos[:, 3:7])
    angles = pelvis_angles(rotation)
    difference = np.angle(np.exp(1j * (truth.coordinates[:, 3:6] - angles)))
    assert np.abs(difference).max() < 1e-9
    assert truth.coordinates[:, :3] == pytest.approx(world_to_opensim(truth.qpos[:, :3]), abs=1e-12)
    assert truth.coordinates[:, 6:] == pytest.approx(truth.qpos[:, 7:])
    assert np.abs(np.diff(truth.coordinates, axis=0)).max() < 0.4  # no jump by a turn
    assert truth.coordinate_names == walk.body.coordinate_names


def test_events_are_where_the_feet_touch(walk):
    events = walk.truth.events
    assert len(events) > 20
    for side in Side:
        kinds = [e.type for e in events if e.side == side]
        assert all(a != b for a, b in pairwise(kinds)), "initial and final contacts alternate"
    for event in events:
        t = event.stamp_ns * 1e-9
        offset = 0 if event.side == Side.RIGHT else 3
        point = offset + (0 if event.type == EventType.INITIAL_CONTACT else 2)
        before, at, after = _soles(walk, np.array([t - 0.05, t, t + 0.05]))[:, point]
        assert abs(at[2]) < 0.006
        assert np.linalg.norm(at[:2] - event.position[:2]) < 1e-6
        # The heel comes down to rest, the toe leaves from rest.
        still, moving = (after, before) if event.type == EventType.INITIAL_CONTACT else (before, after)
        assert np.linalg.norm(still - at) < np.linalg.norm(moving - at)
        assert np.linalg.norm(moving - at) > 0.005


def test_swings_follow_the_published_curves():
    """On a straight line at a normal speed the right leg stays near the means it was made from."""
    sim = simulate(SimConfig(seconds=6.0, cameras=1, path="straight", size_spread=0.0, segment_spread=0.0, variability=0.0))
    grid = np.linspace(sim.motion.start_s, sim.motion.end_s, len(sim.motion.feet[0].phase))
    phase = np.interp(sim.truth.time_s, grid, sim.motion.feet[0].phase)
    mean = gait_curves.leg_angles(phase, np.ones_like(phase), np.zeros_like(phase))
    for name, limit in (("hip_flexion", 4.0), ("knee_angle", 6.0), ("ankle_angle", 5.0), ("hip_adduction", 3.0)):
        values = sim.truth.coordinates[:, sim.truth.coordinate_names.index(f"{name}_r")]
        assert np.rad2deg(np.sqrt(np.mean((values - mean[name]) ** 2))) < limit, name


def test_speed_and_cadence_are_as_asked():
    sim = simulate(SimConfig(seconds=10.0, cameras=1, path="straight", speed_m_s=1.3, cadence_steps_min=115.0, cadence_variability=0.0))
    assert np.mean(np.diff(sim.truth.qpos[:, 0])) * 60 == pytest.approx(1.3, abs=0.03)
    contacts = [e.stamp_ns * 1e-9 for e in sim.truth.events if e.type == EventType.INITIAL_CONTACT]
    assert 60.0 / np.mean(np.diff(contacts)) == pytest.approx(115.0, abs=1.0)
    sides = {side: [e for e in sim.truth.events if e.side == side and e.type == EventType.INITIAL_CONTACT] for side in Side}
    assert np.mean([e.position[1] for e in sides[Side.LEFT]]) - np.mean([e.position[1] for e in sides[Side.RIGHT]]) == pytest.approx(0.10, abs=0.025)


def test_jacobian_of_the_soles(walk):
    """Against central differences of MuJoCo's kinematics."""
    legs = Legs(walk.subject.mj_model, sole_points(walk.subject.mj_model, walk.subject.foot_points))
    state = np.random.default_rng(0).uniform(-0.3, 0.3, (2, STATE))
    _, jacobian = legs.evaluate(state)
    step = 1e-6
    for k in range(STATE):
        shift = np.zeros(STATE)
        shift[k] = step
        numeric = (legs.evaluate(state + shift)[0] - legs.evaluate(state - shift)[0]) / (2 * step)
        assert jacobian[..., k] == pytest.approx(numeric, abs=1e-7)
    assert len(PLANNED) + 6 == STATE


def test_root_quaternion_is_the_root_rotation():
    angles = np.random.default_rng(1).uniform(-3, 3, (5, 3))
    assert quat_to_matrix(root_quaternion(angles)) == pytest.approx(root_rotation(angles), abs=1e-12)


def test_motion_is_as_smooth_as_real_walking():
    """RMS jerk of hip, knee and ankle flexion against marker-based recordings of walking adults and children."""
    ezc3d = pytest.importorskip("ezc3d")
    if not MCGILL.is_dir():
        pytest.skip(f"no recordings of real walking at {MCGILL}")
    from scipy.signal import butter, filtfilt

    low_pass = butter(2, 12.0 / 50.0)
    real: dict[str, list[float]] = {"RHipAngles": [], "RKneeAngles": [], "RAnkleAngles": []}
    for file in sorted(MCGILL.glob("*/Straight/*.c3d")):
        recording = ezc3d.c3d(str(file))
        labels = recording["parameters"]["POINT"]["LABELS"]["value"]
        for name, values in real.items():
            angle = np.deg2rad(recording["data"]["points"][0, labels.index(name)])
            jerk = np.diff(filtfilt(*low_pass, angle[np.isfinite(angle)]), 3) * 100.0**3
            values.append(float(np.sqrt(np.mean(jerk[10:-10] ** 2))))
    sim = simulate(SimConfig(seconds=6.0, cameras=1, path="straight"))
    time = np.arange(0, 6, 0.01)
    jerk = np.sqrt(np.mean(sim.motion.spline.derivative(3)(time) ** 2, axis=0))
    for name, coordinate in (("RHipAngles", "hip_flexion_r"), ("RKneeAngles", "knee_angle_r"), ("RAnkleAngles", "ankle_angle_r")):
        ours = jerk[sim.truth.coordinate_names.index(coordinate)]
        assert 0.5 * min(real[name]) < ours < 1.3 * max(real[name]), (name, ours, real[name])
