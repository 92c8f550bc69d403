"""Regressions of joint centres against numbers worked out by hand from the published equations, in any position of the body."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from biomech_fit.surface.joint_centres import hip_centres, joint_centres, pelvic_frame

# x forward, y up, z right; inter-ASIS width 240 mm, depth 150 mm, knee 400 mm below Bell's hip, medial malleolus 400 mm below the knee.
WIDTH, DEPTH = 240.0, 150.0
BELL = np.array([-0.19, -0.30, 0.36]) * WIDTH
LEG = 400 + 400 + 0.30 * WIDTH


def landmarks() -> dict[str, np.ndarray]:
    points = {"pubic_symphysis": (0, -90, 0), "C7": (-100, 480, 0), "suprasternale": (0, 430, 0)}
    for s, sign in (("r", 1), ("l", -1)):
        knee = BELL * (1, 1, sign) + (0, -400, 0)
        points |= {f"ASIS_{s}": (0, 0, sign * WIDTH / 2), f"PSIS_{s}": (-DEPTH, 0, sign * 45), f"acromion_{s}": (-50, 460, sign * 180)}
        points |= {f"femoral_epicondyle_lateral_{s}": np.add(knee, (0, 0, sign * 45)), f"femoral_epicondyle_medial_{s}": np.subtract(knee, (0, 0, sign * 45))}
        points |= {f"malleolus_medial_{s}": np.add(knee, (0, -400, 0)), f"malleolus_lateral_{s}": np.add(knee, (0, -400, sign * 60))}
    return {name: np.array(point, float) / 1000 for name, point in points.items()}


def test_hip_regressions() -> None:
    """mm: Harrington 2007 (full), Hara 2016, Bell 1990 and Reed 1999 for this pelvis and leg."""
    points = landmarks()
    knees = {s: BELL * (1, 1, sign) / 1000 + (0, -0.4, 0) for s, sign in (("r", 1), ("l", -1))}
    want = {
        "harrington_2007": (-0.24 * 150 - 9.9, -0.16 * 240 - 0.04 * LEG - 7.1, 0.28 * 150 + 0.16 * 240 + 7.9),
        "hara_2016": (11 - 0.063 * LEG, -9 - 0.078 * LEG, 8 + 0.086 * LEG),
        "bell_1990": (-45.6, -72.0, 86.4),
        "reed_1999": (-0.208 * 240, -0.278 * 240, 0.361 * 240),
    }
    found = hip_centres(points, knees, "male")
    for method, point in want.items():
        assert np.allclose(1000 * found["r"][method], point, atol=1e-6), method
        assert np.allclose(1000 * found["l"][method], np.array(point) * (1, 1, -1), atol=1e-6), method


def test_they_move_with_the_body() -> None:
    points, turn, shift = landmarks(), Rotation.from_rotvec([0.3, -1.0, 2.0]), np.array([1.0, -2.0, 3.0])
    moved = {name: turn.apply(point) + shift for name, point in points.items()}
    for name, centre in joint_centres(points).items():
        assert np.allclose(joint_centres(moved)[name].position, turn.apply(centre.position) + shift, atol=1e-9), name


def test_mean_spread_and_uncertainty() -> None:
    """Weights by the squares of 1/4.1, 1/4.5, 1/12 and 1/12 mm; 5 mm that one has by itself."""
    hip = joint_centres(landmarks(), "male")["hip_r"]
    methods = np.array([hip.methods[n] for n in ("harrington_2007", "hara_2016", "bell_1990", "reed_1999")])
    weights = np.array([0.4802, 0.3987, 0.0561, 0.0561])
    assert np.allclose(hip.position, weights @ methods / weights.sum(), atol=2e-5)
    assert hip.spread_m == pytest.approx(np.sqrt(methods.var(0, ddof=1).mean()))
    assert hip.std_m == pytest.approx(np.hypot(0.629 * hip.spread_m, 0.005), rel=1e-2)


def test_thorax() -> None:
    """C7T1 8 degrees above the line to the suprasternale at 0.55 of its length, the shoulder 67 degrees below it at 0.42 from the acromion (male)."""
    points = landmarks()
    centres = joint_centres(points, "male")
    line = points["suprasternale"] - points["C7"]
    for name, start, share, degrees in (("C7T1", points["C7"], 0.55, 8), ("shoulder_r", points["acromion_r"], 0.42, -67)):
        away = centres[name].position - start
        assert np.linalg.norm(away) == pytest.approx(share * np.linalg.norm(line))
        assert np.rad2deg(np.arctan2(away[1], away[0]) - np.arctan2(line[1], line[0])) == pytest.approx(degrees)


def test_unknown_sex_is_between_and_missing_landmarks_leave_joints_out() -> None:
    points = landmarks()
    by_sex = {sex: joint_centres(points, sex)["L5S1"].position for sex in ("female", "male", None)}
    assert np.allclose(by_sex[None], (by_sex["female"] + by_sex["male"]) / 2)
    del points["pubic_symphysis"]
    centres = joint_centres(points)
    assert "L5S1" not in centres and set(centres["hip_r"].methods) == {"harrington_2007", "hara_2016", "bell_1990"}


def test_pelvic_frame_is_right_handed() -> None:
    _, frame = pelvic_frame(landmarks())
    assert np.allclose(frame, np.eye(3))
