"""benchmark/: what the pipelines get is what the conditions say, the plain pipeline and the scores are right, and figures of other recordings are not mixed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from biomech_fit.core.camera import Camera
from biomech_fit.formats.c3d import read_c3d
from biomech_fit.formats.keypoint_sets import load_keypoint_set

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmark"))
recordings = pytest.importorskip("recordings", reason="the folder benchmark/ is not beside test/")
output, plain, rigs, scores, walks = (pytest.importorskip(name) for name in ("output", "plain", "rigs", "scores", "walks"))

pytestmark = pytest.mark.skipif(not walks.DATA.is_dir(), reason="the walks of shared/data/mcgill_walking are absent")
KEYPOINTS = load_keypoint_set("halpe_26")
SUBJECT, SEED = "HC030A", 3
FILE_MM = 0.01
"""The files hold float32 mm of some metres."""


def _session(condition: str):
    return recordings.make_session(SUBJECT, recordings.CONDITIONS[condition], KEYPOINTS, SEED)


@pytest.fixture(scope="module")
def clean():
    return _session("clean")


def _by_camera(recording, frame: int) -> dict:
    return {packet.camera: packet for packet in recording.frames[frame]}


@pytest.mark.parametrize("rig", ["clean", "side", "real"])
def test_projection_is_that_of_the_camera(rig):
    walk = _session(rig).walk
    points = walk.points[::10].reshape(-1, 3)
    for camera in walk.true:
        ours, theirs = rigs.pixels(camera, points), camera.project(points)
        seen = np.isfinite(ours).all(-1)
        assert seen.mean() > 0.5  # The walk is in view.
        np.testing.assert_allclose(ours[seen], theirs[seen], atol=1e-6)
        inside = ((theirs > 0) & (theirs < (camera.width - 1, camera.height - 1))).all(-1)
        assert (seen | ~inside).all()


def test_offsets_are_constant_in_the_segment_and_the_same_in_both_trials():
    """Seen along the segment's own directions in the file, from its point O to A and to L."""
    offsets = np.random.default_rng(0).normal(0, 0.01, (len(KEYPOINTS), 3))
    for name, segment in (("LKnee", "LFE"), ("RAnkle", "RTI"), ("RHip", "PEL")):
        k, distances = KEYPOINTS.names.index(name), []
        for kind in ("Static", "Straight"):
            content = read_c3d(next((walks.DATA / SUBJECT / kind).glob("*.c3d")))
            aimed = walks.aimed_points(content, KEYPOINTS.names, offsets)[:, k]
            bare = walks.aimed_points(content, KEYPOINTS.names, np.zeros_like(offsets))[:, k]
            np.testing.assert_allclose(np.linalg.norm(aimed - bare, axis=1), np.linalg.norm(offsets[k]), atol=1e-9)
            origin = content.points[segment + "O"]
            axes = [content.points[segment + axis] - origin for axis in "AL"]
            distances.append([((aimed - bare) * axis).sum(1) / np.linalg.norm(axis, axis=1) for axis in axes])
        together = np.concatenate(distances, axis=1)
        assert np.ptp(together, axis=1).max() < 1e-3 * FILE_MM


def test_the_detector_has_its_noise(clean):
    """Its variance with the five per cent of large errors, its median without much of them, and the share that is missing."""
    errors, missing = [], []
    for t in range(len(clean.walk.frames)):
        for camera in clean.walk.true:
            packet = _by_camera(clean.walk, t)[camera.name]
            true = rigs.pixels(camera, clean.walk.points[t])
            errors.append((packet.xy[0] - true).ravel())
            missing.append(~np.isfinite(packet.xy[0, np.isfinite(true).all(-1)]).all(-1))
    error = np.concatenate(errors)
    error = error[np.isfinite(error)]
    # A mixture's second moment: 0.95 + 0.05 * 16 of sigma squared. 20 000 points with heavy tails: 3 %.
    assert np.sqrt((error**2).mean()) == pytest.approx(recordings.SIGMA_PX * np.sqrt(0.95 + 0.05 * 16), rel=0.03)
    assert np.median(np.abs(error)) == pytest.approx(0.6745 * recordings.SIGMA_PX, rel=0.06)
    assert np.concatenate(missing).mean() == pytest.approx(recordings.MISSING, abs=0.005)


def test_a_silent_camera_is_silent_from_the_middle():
    walk = _session("silent").walk
    half = len(walk.frames) // 2
    silent = {camera.name for camera in walk.given} - {packet.camera for packets in walk.frames[half:] for packet in packets}
    assert len(silent) == 1
    assert all(len(packets) == len(walk.given) for packets in walk.frames[:half])
    assert all(len(packets) == len(walk.given) - 1 for packets in walk.frames[half:])


def test_loss_takes_its_share():
    walk = _session("loss").walk
    sent = sum(len(packets) for packets in walk.frames) / (len(walk.frames) * len(walk.given))
    assert sent == pytest.approx(0.8, abs=0.05)  # 900 draws: four standard deviations.


def test_one_camera_lags_and_all_else_stays(clean):
    lagging = _session("lag").walk
    person = walks.read_person(SUBJECT, KEYPOINTS.names, recordings.rng_of(SEED, SUBJECT, "offsets"))
    times = recordings.times_of(person.walk)
    t, differing = 40, []
    for camera in clean.walk.true:
        before, after = _by_camera(clean.walk, t)[camera.name], _by_camera(lagging, t)[camera.name]
        assert before.stamp_ns == after.stamp_ns
        if not np.array_equal(before.xy, after.xy, equal_nan=True):
            differing.append(camera)
            shown, true = (rigs.pixels(camera, person.walk.points(times[t : t + 1] - lag))[0] for lag in (0.025, 0.0))
            np.testing.assert_allclose(after.xy[0] - before.xy[0], np.where(np.isnan(before.xy[0]), np.nan, shown - true), atol=1e-3)
    assert len(differing) == 1


def test_a_stranger_is_in_one_camera_in_any_order(clean):
    walk, firsts = _session("stranger").walk, []
    with_two = {packet.camera for packets in walk.frames for packet in packets if len(packet.xy) > 1}
    assert len(with_two) == 1
    for t in range(len(walk.frames)):
        packet, own = (_by_camera(recording, t)[next(iter(with_two))] for recording in (walk, clean.walk))
        if len(packet.xy) == 2:
            firsts.append(np.array_equal(packet.xy[0], own.xy[0], equal_nan=True))
    assert 0.25 < np.mean(firsts) < 0.75


def test_correlated_noise_has_the_same_variance_and_its_correlation():
    noise = recordings._detect(np.zeros((400, 26, 2)), 0.8, np.random.default_rng(1))[0]
    # Outliers have their own factor in each frame, so only what both frames share is counted: the sign.
    agree = np.nanmean(np.sign(noise[1:]) * np.sign(noise[:-1]) > 0)
    # P(same sign) of a normal pair with correlation r: 1/2 + asin(r)/pi. Missing points count as different.
    assert agree / 0.97**2 == pytest.approx(0.5 + np.arcsin(0.8) / np.pi, abs=0.02)
    assert np.nanstd(noise) == pytest.approx(recordings.SIGMA_PX * np.sqrt(0.95 + 0.05 * 16), rel=0.05)


def test_the_same_seed_gives_the_same_recording(clean):
    other = recordings.make_session(SUBJECT, recordings.CONDITIONS["clean"], KEYPOINTS, SEED + 1)
    assert recordings.fingerprint(_session("clean").walk) == recordings.fingerprint(clean.walk) != recordings.fingerprint(other.walk)


def test_plain_triangulation_of_true_pixels_is_exact(clean):
    walk = clean.walk
    points = walk.points[::20]
    xy = np.stack([rigs.pixels(camera, points) for camera in walk.true], 1)
    weight = np.isfinite(xy).all(-1).astype(float)
    found = plain.triangulated(walk.true, np.nan_to_num(xy), weight)
    np.testing.assert_allclose(found, points, atol=1e-5)  # The lens model is inverted by iteration.
    weight[:, 1:] = 0.0
    assert np.isnan(plain.triangulated(walk.true, np.nan_to_num(xy), weight)).all()


def test_plain_angles_of_a_known_pose():
    """Right thigh 30 degrees forward, left one 20 back, knees bent by 40, feet at right angles to the shanks; walking along x, z up."""
    points = dict.fromkeys(KEYPOINTS.names, np.zeros(3)) | {"Neck": np.array([0, 0, 0.5]), "RHip": np.array([0, -0.1, 0]), "LHip": np.array([0, 0.1, 0])}
    for side, hip in (("R", np.deg2rad(30)), ("L", np.deg2rad(-20))):
        knee = points[side + "Hip"] + 0.4 * np.array([np.sin(hip), 0, -np.cos(hip)])
        shank = hip - np.deg2rad(40)
        ankle = knee + 0.4 * np.array([np.sin(shank), 0, -np.cos(shank)])
        points |= {side + "Knee": knee, side + "Ankle": ankle, side + "BigToe": ankle + 0.15 * np.array([np.cos(shank), 0, np.sin(shank)])}
    angles = plain.flexions(np.array([[points[name] for name in KEYPOINTS.names]]), KEYPOINTS.names)
    expected = {"hip_flexion_r": 30, "hip_flexion_l": -20, "knee_angle_r": 40, "knee_angle_l": 40, "ankle_angle_r": 0, "ankle_angle_l": 0}
    np.testing.assert_allclose(angles[0], [expected[name] for name in walks.FLEXIONS], atol=1e-9)


def test_scores_of_a_shifted_copy(clean):
    """10 mm beside the truth and 3 degrees too much: raw error, nothing after alignment and without the offset. Cameras: the rig's own place does not count."""
    walk = clean.walk
    turn = rigs._about_vertical(0.3)
    moved = [Camera(c.name, c.width, c.height, c.matrix, c.distortion_model, c.distortion, c.rotation @ turn.T, 1.1 * c.translation) for c in walk.true]
    figures = scores.score(output.Output(walk.points + np.array([0.01, 0.0, 0.0]), walk.angles + 3.0, 1.0, 1.0, moved), walk, KEYPOINTS.names)
    assert figures["raw_mm"] == pytest.approx(10.0) and figures["knee_raw_deg"] == pytest.approx(3.0)
    assert max(figures[name] for name in ("aligned_mm", "knee_deg", "camera_deg", "camera_mm")) < 1e-4
    assert "camera_deg" not in scores.score(output.Output(walk.points, walk.angles, 1.0, 1.0), walk, KEYPOINTS.names)
