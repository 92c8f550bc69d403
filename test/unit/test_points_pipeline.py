"""A body from 3D points alone: accuracy, missing points and people, restarts, what is not known, the directions of bones. Truth is MuJoCo C's."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import mujoco
import numpy as np
import pytest
from core_example import mujoco_points

from biomech_fit.config import FitConfig
from biomech_fit.core.body import BodyModel
from biomech_fit.core.errors import InputError
from biomech_fit.core.quaternions import quat_to_matrix
from biomech_fit.core.types import FrameResult, PointsPacket, Status
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.formats.subject import subject_from_estimate
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import Simulation, simulate
from biomech_fit.stream.device import count_compilations
from biomech_fit.stream.points_pipeline import PointsPipeline

RATE_HZ = 30.0
CONFIG = FitConfig()
CONFIG = replace(CONFIG, device="cpu", stream=replace(CONFIG.stream, frame_rate_hz=RATE_HZ))
LEGS = tuple(f"{n}_{s}" for n in ("hip_flexion", "hip_adduction", "knee_angle") for s in "lr")


@lru_cache(maxsize=1)
def walk() -> Simulation:
    """A person of other size than the nominal body whose joints are Human3.6M's; only the truth is used."""
    return simulate(SimConfig(seconds=6.0, frame_rate_hz=RATE_HZ, cameras=2, keypoint_set="h36m_17"))


@lru_cache(maxsize=1)
def body() -> BodyModel:
    return load_body_model(None, load_keypoint_set("h36m_17"))


def run(pipeline: PointsPipeline, xyz: np.ndarray, start_ns: int = 0, **more: np.ndarray) -> list[FrameResult]:
    results = []
    for t, points in enumerate(xyz):
        pipeline.feed_keypoints(PointsPacket(start_ns + round(t / RATE_HZ * 1e9), points[None], **{k: v[t][None] for k, v in more.items()}))
        results += pipeline.poll()
    return results


def angles_off_deg(results: list[FrameResult], names: tuple[str, ...], skip_s: float = 2.0) -> np.ndarray:
    """(T, names) causal minus truth."""
    truth, index = walk().truth, [body().coordinate_names.index(n) for n in names]
    there = [(r, t) for t, r in enumerate(results) if r.causal is not None and truth.time_s[t] >= skip_s]
    return np.degrees(np.array([(r.causal.position - truth.coordinates[t])[index] for r, t in there]))


@pytest.fixture(scope="module")
def compiled() -> PointsPipeline:
    pipeline = PointsPipeline(body(), load_keypoint_set("h36m_17"), CONFIG)
    pipeline.compile()
    return pipeline


@pytest.fixture
def pipeline(compiled: PointsPipeline) -> PointsPipeline:
    compiled.reset(subject=True)
    compiled.tracker.forget()
    return compiled


def test_a_walk_from_noisy_points_with_gaps(pipeline: PointsPipeline) -> None:
    """Points with 8 mm of noise, a tenth missing: legs' angles causally to 3 degrees without each one's constant offset (joints are 10 mm off the model, which
    is unknown), segments' lengths to 5 %; nothing is compiled on the way, every frame has a smoothed estimate, and the noise becomes known."""
    rng, truth = np.random.default_rng(0), walk().truth
    xyz = truth.keypoints + 0.008 * rng.standard_normal(truth.keypoints.shape)
    xyz[rng.random(xyz.shape[:2]) < 0.1] = np.nan
    with count_compilations() as compilations:
        results = run(pipeline, xyz)
        rest = pipeline.flush()
    assert compilations.count == 0
    assert [r.status for r in results] == [Status.OK] * len(xyz)
    off = angles_off_deg(results, LEGS)
    assert off.std(0).max() < 3.0 and np.abs(off.mean(0)).max() < 10.0, (off.std(0), off.mean(0))
    lengths = dict(zip(walk().subject.segment_names, walk().subject.segment_lengths_m, strict=True))
    found = pipeline.subject().segment_lengths_m
    for name in ("thigh_r", "thigh_l", "shank_r", "upper_arm_l"):
        assert found[name] == pytest.approx(lengths[name], rel=0.05)
    smoothed = sorted(r.smoothed.stamp_ns for r in results + rest if r.smoothed is not None)
    assert smoothed == [r.stamp_ns for r in results]
    assert 0.6 < pipeline.tracker.noise.model.overall < 1.1  # times 10 mm
    estimate = results[-1].causal
    assert estimate.reprojected_xy.shape == (0, 17, 2) and np.isnan(estimate.reprojection_rms_px) and pipeline.calibration().cameras == ()
    assert estimate.cameras_used == () and "tracked" in pipeline.diagnostics()[0][2]


def test_stated_sigmas_count_and_outliers_do_not(pipeline: PointsPipeline) -> None:
    """A wrist that is said to be uncertain by 0.5 m and is 0.3 m off moves nothing; one knee that jumps by 0.5 m for a moment moves the knee's angle by less
    than 5 degrees."""
    truth = walk().truth
    rng, names = np.random.default_rng(1), truth.keypoint_names
    xyz = truth.keypoints + 0.003 * rng.standard_normal(truth.keypoints.shape)
    sigma = np.full(xyz.shape[:2], 0.004)
    wrist, knee = names.index("RWrist"), names.index("LKnee")
    xyz[:, wrist] += [0.0, 0.0, 0.3]
    sigma[:, wrist] = 0.5
    xyz[100:103, knee] += [0.5, 0.0, 0.0]
    results = run(pipeline, xyz, sigma_m=sigma)
    off = angles_off_deg(results, ("elbow_flex_r", "knee_angle_l"))
    # What a nearly unseen wrist does is not known, and it is said so.
    elbow = body().coordinate_names.index("elbow_flex_r")
    assert np.degrees(results[-1].causal.position_std[elbow]) > 8.0
    at = slice(98 - 60, 106 - 60)
    assert np.abs(off[at, 1] - np.median(off[:, 1])).max() < 5.0


def test_people_come_and_go(pipeline: PointsPipeline) -> None:
    """Two people are sent, in changing order: the same one is followed, by the source's number or by nearness. A gap of 0.3 s is predicted, one of 1 s ends
    the track, and the person is found again. Time that goes back starts anew; a packet that is late is dropped."""
    truth = walk().truth
    other = truth.keypoints + np.array([3.0, 1.0, 0.0])
    results = []
    for t, points in enumerate(truth.keypoints[:120]):
        first = t % 2 == 0
        both = np.stack([points, other[t]] if first else [other[t], points])
        ids = np.array([4, 7] if first else [7, 4], np.int32) if t < 60 else None
        if 20 <= t < 29 or 60 <= t < 90:
            both = np.full((0, 17, 3), np.nan)
            ids = None
        pipeline.feed_keypoints(PointsPacket(round((t + 1) / RATE_HZ * 1e9), both, person_ids=ids))
        results += pipeline.poll()
    causal = {round(r.stamp_ns * 1e-9 * RATE_HZ) - 1: r for r in results if r.causal is not None}
    status = {t: r.status for t, r in causal.items()}
    assert [status[t] for t in (0, 25, 30)] == [Status.OK, Status.PREDICTED, Status.OK] and 80 not in causal and status[90] == Status.REINITIALISED
    assert [r.status for r in results if r.causal is None and r.smoothed is None][-1] == Status.NO_PERSON
    where = np.array([causal[t].causal.pelvis_position - truth.keypoints[t, 0] for t in (10, 11, 40, 50, 59)])
    assert np.abs(where).max() < 0.1
    late = PointsPacket(round(118 / RATE_HZ * 1e9), truth.keypoints[:1])
    pipeline.feed_keypoints(late)
    assert pipeline.poll() == []
    pipeline.feed_keypoints(PointsPacket(1, truth.keypoints[:1]))
    again = pipeline.poll()
    assert again[-1].status == Status.OK and again[-1].stamp_ns == 1


def test_what_straight_limbs_do_not_show_is_known_to_be_unknown(pipeline: PointsPipeline) -> None:
    """A person stands with elbows straight, then with elbows bent by a right angle: the turn of the upper arm about itself is unsure by more than 15 degrees
    (its prior has 23), then by less than 8; and right within three standard deviations."""
    model, names = body().mj_model, body().coordinate_names
    coordinate = names.index("arm_rot_r")
    std, value = [], []
    for flexion in (0.0, np.pi / 2):
        pipeline.reset(subject=True)
        pipeline.tracker.forget()
        qpos = model.qpos0.copy()
        for side in "rl":
            qpos[model.joint(f"elbow_flex_{side}").qposadr[0]] = flexion
            qpos[model.joint(f"arm_rot_{side}").qposadr[0]] = 0.3
        points = mujoco_points(model, qpos, body().keypoint_body, body().keypoint_position)
        rng = np.random.default_rng(2)
        results = run(pipeline, points + 0.003 * rng.standard_normal((75, 17, 3)))
        estimate = [r.smoothed for r in results if r.smoothed is not None][-1]
        std.append(np.degrees(estimate.position_std[coordinate]))
        value.append(np.degrees(estimate.position[coordinate]))
    assert std[0] > 15.0 and std[1] < 8.0, std
    assert abs(value[0] - np.degrees(0.3)) < 3 * std[0] and abs(value[1] - np.degrees(0.3)) < 3 * std[1] + 2.0, (value, std)


def test_a_known_body_and_bad_input(pipeline: PointsPipeline) -> None:
    truth = walk().truth
    run(pipeline, truth.keypoints[:90])
    subject = subject_from_estimate(pipeline.subject(), body(), "h36m_17", "Ada")
    pipeline.set_subject(subject)
    assert pipeline.subject().name == "Ada"
    run(pipeline, truth.keypoints[90:100], start_ns=round(4e9))
    np.testing.assert_allclose(pipeline.subject().scales, subject.scale_vector(body())[0], atol=0.02)
    for packet, words in (
        (PointsPacket(1, np.zeros((1, 16, 3))), "(P, 17, 3)"),
        (PointsPacket(1, np.zeros((1, 17, 3)), np.zeros((2, 17))), "(P, 17)"),
        (PointsPacket(1, np.zeros((1, 17, 3)), person_ids=np.zeros(3, int)), "(P,)"),
    ):
        with pytest.raises(InputError) as error:
            pipeline.feed_keypoints(packet)
        assert words in str(error.value)
    boneless = replace(load_keypoint_set("h36m_17"), edges=())
    with pytest.raises(InputError, match="no bones"):
        PointsPipeline(body(), boneless, replace(CONFIG, points=replace(CONFIG.points, residual="direction")))


def test_directions_need_neither_size_nor_place() -> None:
    """The same walk, made half as large again and with a root that strays by centimetres from frame to frame: hips and knees to 6 degrees causally without
    their constant offsets, which the joints' own offsets and the model's proportions make."""
    truth, rng = walk().truth, np.random.default_rng(3)
    config = replace(CONFIG, points=replace(CONFIG.points, residual="direction", sigma_m=0.003))
    pipeline = PointsPipeline(body(), load_keypoint_set("h36m_17"), config)
    pipeline.compile()
    drift = np.cumsum(0.03 * rng.standard_normal((len(truth.time_s), 1, 3)), 0)
    results = run(pipeline, 1.5 * truth.keypoints + drift)
    assert [r.status for r in results] == [Status.OK] * len(results)
    off = angles_off_deg(results, LEGS)
    assert off.std(0).max() < 6.0, off.std(0)
    np.testing.assert_allclose(pipeline.subject().scales, 0.0, atol=1e-3)  # sizes are not told by directions
    # Orientation, against MuJoCo's own pelvis.
    q = results[-1].causal.pelvis_quat_wxyz
    true = quat_to_matrix(truth.qpos[-1, 3:7])
    angle = np.degrees(np.arccos(np.clip((np.trace(quat_to_matrix(q).T @ true) - 1) / 2, -1, 1)))
    assert angle < 15.0 and mujoco.mj_version() > 0
