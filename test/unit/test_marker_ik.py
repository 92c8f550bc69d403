"""Inverse kinematics of markers: known motions come back, optima are those of an independent solver, and a real model's reference is met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import osim_example as example
import pytest
from scipy.optimize import least_squares

from biomech_fit.core.errors import InputError
from biomech_fit.core.marker_cost import CoordinateGoal
from biomech_fit.core.marker_ik import TOLERANCE, MarkerIk
from biomech_fit.formats.ik_tasks import read_ik_tasks
from biomech_fit.formats.mot import read_mot
from biomech_fit.formats.osim import OsimModel, read_osim
from biomech_fit.formats.trc import read_trc

REFERENCE = Path(__file__).parents[3] / "shared" / "data" / "opensim_ik_reference"
OPTIMUM = 2 * TOLERANCE  # rad, m: what the solver stops at is an estimate of what is left
COUPLER = (
    '<CoordinateCouplerConstraint name="c"><coupled_coordinates_function><PolynomialFunction><coefficients>0.2 0.3 0.1</coefficients></PolynomialFunction>'
    "</coupled_coordinates_function><independent_coordinate_names>knee</independent_coordinate_names>"
    "<dependent_coordinate_name>h3</dependent_coordinate_name></CoordinateCouplerConstraint>"
)


def leg(tmp_path, coupled: bool = False, **settings: str) -> OsimModel:
    content = example.leg_model(**settings)
    if coupled:
        content = content.replace("<ConstraintSet><objects>", f"<ConstraintSet><objects>{COUPLER}")
    (tmp_path / "leg.osim").write_text(content)
    return read_osim(tmp_path / "leg.osim")


def motion(model: OsimModel, frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Someone who walks 4 m and turns by 126 degrees at 60 Hz."""
    rng, t = np.random.default_rng(seed), np.arange(frames) / 60
    swing = {n: 0.4 * rng.uniform(0.3, 1) * np.sin(2 * np.pi * t + rng.uniform(0, 6)) for n in ("list", "tilt", "h1", "h2", "h3")}
    places = {"tx": 5 + 4 * t / t[-1], "ty": 0.9 + 0.03 * np.sin(12 * t), "tz": -2 + np.sin(t)}
    return swing | places | {"rotation": 1.1 * np.sin(0.9 * t), "knee": -0.8 + 0.7 * np.sin(6 * t)}


def cost_solver(model: OsimModel, points: np.ndarray, weights: np.ndarray, goals: list[CoordinateGoal], start: np.ndarray) -> np.ndarray:
    """The same optimum of one frame by scipy: free coordinates."""
    linkage = model.linkage
    free = [linkage.coordinates[c] for c in linkage.free]

    def residuals(x):
        full = linkage.default.copy()
        full[linkage.free] = x
        full = linkage.complete(full)
        off = (model.markers(full) - points) * np.sqrt(weights / weights.sum())[:, None]
        return np.concatenate([off.ravel(), *[[np.sqrt(g.weight) * (full[linkage.index(g.name)] - g.target)] for g in goals]])

    bounds = [c.lower if c.clamped else -np.inf for c in free], [c.upper if c.clamped else np.inf for c in free]
    return least_squares(residuals, np.clip(start, bounds[0] + np.full(len(free), 1e-9), bounds[1] - np.full(len(free), 1e-9)), bounds=bounds,
                         xtol=1e-14, ftol=1e-14, gtol=1e-14).x  # fmt: skip


def test_a_motion_comes_back(tmp_path):
    """Over more than one block, with markers missing, a frame without any, and names in another order."""
    model = leg(tmp_path)
    truth = model.values(motion(model, 600))
    order = np.random.default_rng(1).permutation(12)
    points = model.markers(truth)[:, order]
    points[np.random.default_rng(2).random(points.shape[:2]) < 0.1] = np.nan
    points[100] = np.nan
    solution = MarkerIk(model.linkage, [model.marker_names[k] for k in order]).solve(points)
    kept = np.arange(600) != 100
    np.testing.assert_allclose(solution.coordinates[kept], truth[kept], atol=OPTIMUM)
    assert np.isnan(solution.coordinates[100]).all() and np.isnan(solution.rms_m[100]) and solution.markers_seen[100] == 0
    assert solution.converged[kept].all() and not solution.converged[100]


@pytest.mark.parametrize("heading", [2.0, -2.5, np.pi])
def test_the_first_frame_may_face_anywhere(tmp_path, heading):
    model = leg(tmp_path)
    truth = model.values({"rotation": 0.3, "list": heading, "tilt": 0.2, "knee": -0.5, "tx": 3.0})
    solution = MarkerIk(model.linkage, model.marker_names).solve(model.markers(truth)[None])
    np.testing.assert_allclose(model.markers(solution.coordinates[0]), model.markers(truth), atol=1e-6)  # angles may differ by whole turns


@pytest.mark.parametrize("coupled", [False, True])
def test_noisy_weighted_optimum(tmp_path, coupled):
    """Where nothing fits exactly: bounds that bind, unequal weights, a goal; against scipy's trust-region solver."""
    model = leg(tmp_path, coupled=coupled, knee_range="-0.9 -0.3")
    truth = model.values(motion(model, 60))
    points = model.markers(truth) + np.random.default_rng(3).normal(0, 0.01, (60, 12, 3))
    weights = dict(zip(model.marker_names, np.linspace(0.2, 4, 12), strict=True))
    goals = [CoordinateGoal("h2", 0.02, 0.1), CoordinateGoal("tx", 0.5, truth[:, model.linkage.index("tx")] + 0.02)]
    solution = MarkerIk(model.linkage, model.marker_names, weights, goals).solve(points)
    free = model.linkage.free
    knee = solution.coordinates[:, model.linkage.index("knee")]
    assert (knee == -0.9).any() and (knee == -0.3).any() and ((knee > -0.9) & (knee < -0.3)).any()
    for frame in range(0, 60, 7):
        of_frame = [goals[0], CoordinateGoal("tx", 0.5, goals[1].target[frame])]
        expected = cost_solver(model, points[frame], np.array(list(weights.values())), of_frame, truth[frame][free])
        np.testing.assert_allclose(solution.coordinates[frame, free], expected, atol=OPTIMUM)


def test_locked_and_unclamped(tmp_path):
    locked = leg(tmp_path, locked="true")
    points = locked.markers(locked.values({"tx": 1.0}))
    solution = MarkerIk(locked.linkage, locked.marker_names).solve(points[None] + 0.01)
    assert solution.coordinates[0, locked.linkage.index("knee")] == 0
    loose = leg(tmp_path, clamped="false")
    bent = loose.markers(loose.values({"knee": 0.4}))  # its range ends at 0.2
    assert MarkerIk(loose.linkage, loose.marker_names).solve(bent[None]).coordinates[0, loose.linkage.index("knee")] == pytest.approx(0.4, abs=1e-6)


def test_markers_that_the_model_lacks(tmp_path):
    model = leg(tmp_path)
    ik = MarkerIk(model.linkage, ["Nose", *model.marker_names], {n: 1.0 for n in model.marker_names[:9]})
    assert ik.columns.tolist() == list(range(1, 10)) and ik.names == model.marker_names[:9]
    with pytest.raises(InputError, match=r"None of the measured markers \(Nose"):
        MarkerIk(model.linkage, ["Nose"])
    with pytest.raises(InputError, match="weight of the marker 'pelvis0' is -1"):
        MarkerIk(model.linkage, model.marker_names, {"pelvis0": -1.0})
    with pytest.raises(InputError, match="no coordinate 'elbow' to have a goal; it has list"):
        MarkerIk(model.linkage, model.marker_names, None, [CoordinateGoal("elbow", 1.0, 0.0)])


def test_tasks_file(tmp_path):
    model = leg(tmp_path)
    path = tmp_path / "tasks.xml"
    content = (
        '<OpenSimDocument><IKTaskSet><objects><IKMarkerTask name="pelvis0"><apply>true</apply><weight>2.5</weight></IKMarkerTask>'
        '<IKMarkerTask name="tibia1"><apply>false</apply><weight>1</weight></IKMarkerTask>'
        '<IKCoordinateTask name="knee"><apply>true</apply><weight>3</weight><value_type>manual_value</value_type><value>-0.2</value></IKCoordinateTask>'
        '<IKCoordinateTask name="h1"><apply>true</apply><weight>1</weight><value_type>default_value</value_type></IKCoordinateTask>'
        "</objects></IKTaskSet></OpenSimDocument>"
    )
    path.write_text(content)
    tasks = read_ik_tasks(path, model.linkage)
    assert tasks.marker_weights == {"pelvis0": 2.5}
    assert [(g.name, g.weight, g.target) for g in tasks.goals] == [("knee", 3, -0.2), ("h1", 1, 0)]
    for change, words in ((("default_value", "from_file"), "IKCoordinateTask h1: the value type 'from_file'"), (('"knee"', '"elbow"'), "it has list, rotation"),
                          (("IKTaskSet", "TaskSet"), "no <IKTaskSet>"), (("2.5", "-2.5"), "must be 0 or more")):  # fmt: skip
        path.write_text(content.replace(*change))
        with pytest.raises(InputError, match=words):
            read_ik_tasks(path, model.linkage)


def test_gait2354_reference():
    """OpenSim's own answer to the synthetic markers: 0.1 degree and 1 mm (the marker file is rounded to 0.1 mm; 0.016 degree and 0.05 mm were measured)."""
    if not REFERENCE.is_dir():
        pytest.skip("needs ../shared/data/opensim_ik_reference")
    model = read_osim(REFERENCE / "subject01_simbody.osim")
    expected, trial = read_mot(REFERENCE / "std_subject01_walk1_ik.mot"), read_trc(REFERENCE / "subject01_synthetic_marker_data.trc", axes="file")
    tasks = read_ik_tasks(REFERENCE / "gait2354_IK_Tasks_uniform.xml", model.linkage)
    solution = MarkerIk(model.linkage, trial.names, tasks.marker_weights, tasks.goals).solve(trial.points)
    assert solution.converged.all() and solution.rms_m.max() < 1e-4
    for name in expected.names:
        k = model.linkage.index(name)
        limit = np.radians(0.1) if model.linkage.coordinates[k].is_angle else 1e-3
        np.testing.assert_allclose(solution.coordinates[:, k], expected[name], atol=limit, err_msg=name)


@pytest.mark.parametrize("heading_deg", [165, 180, 195])
def test_whoever_faces_away_has_no_wound_joints(heading_deg):
    """The reference trial turned about the vertical: the same angles, but the pelvis' heading."""
    if not REFERENCE.is_dir():
        pytest.skip("needs ../shared/data/opensim_ik_reference")
    model, trial = read_osim(REFERENCE / "subject01_simbody.osim"), read_trc(REFERENCE / "subject01_synthetic_marker_data.trc", axes="file")
    ik, heading = MarkerIk(model.linkage, trial.names), np.radians(heading_deg)
    turn = np.array([[np.cos(heading), 0, np.sin(heading)], [0, 1, 0], [-np.sin(heading), 0, np.cos(heading)]])
    usual, turned = ik.solve(trial.points).coordinates, ik.solve(trial.points @ turn.T).coordinates
    others = [k for k, name in enumerate(model.coordinate_names) if not name.startswith("pelvis")]  # its tilt and list are about the ground's axes
    np.testing.assert_allclose(turned[:, others], usual[:, others], atol=np.radians(1.0))
    away = (turned - usual)[:, model.linkage.index("pelvis_rotation")] - heading
    assert np.ptp(away) < 0.1 and abs(away[0] - 2 * np.pi * np.round(away[0] / (2 * np.pi))) < 0.1
