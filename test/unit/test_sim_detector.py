"""Subject, cameras and detector of the simulator: every knob does what it says."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from biomech_fit.core.errors import InputError
from biomech_fit.sim.cameras import camera_rig, perturbed, project
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.detector import hidden_points, keypoint_sigma_px
from biomech_fit.sim.simulate import Simulation, simulate

BASE = SimConfig(seconds=4.0, cameras=4, seed=1)


@pytest.fixture(scope="module")
def plain() -> Simulation:
    return simulate(BASE)


def _errors(sim: Simulation, camera: int, person: int = 0) -> np.ndarray:
    """(T, K, 2) px: detection minus projection of the aimed points at the frame time."""
    return sim.detections[camera].xy[:, person] - project(sim.true_cameras[camera], sim.truth.keypoints)


def test_default_noise_is_as_declared(plain):
    error = np.concatenate([_errors(plain, c) for c in range(4)])
    variance = 4.0**2 * (0.95 + 0.05 * 16)
    assert np.nanmean(error**2) == pytest.approx(variance, rel=0.08)
    assert np.nanmedian(np.abs(error)) == pytest.approx(0.6745 * 4.0 * 1.03, rel=0.05)
    visible = np.concatenate([np.isfinite(project(c, plain.truth.keypoints)[..., 0]) for c in plain.true_cameras])
    missing = np.isnan(error[..., 0]) & visible
    assert missing.sum() / visible.sum() == pytest.approx(0.03, abs=0.01)


def test_a_detector_that_is_better_at_some_keypoints_is_so_on_everybody():
    """RMS errors without outliers follow the stated standard deviations; another detector has others; with no spread all are alike."""
    config = replace(BASE, sigma_spread=0.5, outlier_fraction=0.0, detector_seed=3)
    sims = [simulate(replace(config, seed=seed)) for seed in (1, 2)]
    mirror = np.array(sims[0].keypoint_set.mirror)
    sigma = keypoint_sigma_px(config, mirror)
    np.testing.assert_array_equal(sigma, sigma[mirror])
    for sim in sims:
        rms = np.sqrt(np.nanmean(np.concatenate([_errors(sim, c) for c in range(4)]) ** 2, axis=(0, 2)))
        np.testing.assert_allclose(rms, sigma, rtol=0.1)
    assert not np.allclose(keypoint_sigma_px(replace(config, detector_seed=4), mirror), sigma)
    np.testing.assert_array_equal(keypoint_sigma_px(BASE, mirror), BASE.sigma_px)


def test_confidence_tells_the_error(plain):
    error = np.concatenate([_errors(plain, c) for c in range(4)])
    confidence = np.concatenate([d.confidence[:, 0] for d in plain.detections])
    seen = np.isfinite(error[..., 0])
    assert np.all(confidence[~np.isfinite(np.concatenate([d.xy[:, 0, :, 0] for d in plain.detections]))] == 0)
    rms = [np.sqrt(np.mean(error[seen & (confidence > a) & (confidence <= b)] ** 2)) for a, b in ((0.0, 0.4), (0.4, 0.7), (0.7, 1.0))]
    assert rms[0] > 2.5 * rms[2] and rms[1] > rms[2]
    assert 0.8 < np.median(confidence[seen]) < 0.95


def test_the_same_seed_gives_the_same_and_knobs_leave_the_rest_alone(plain):
    again = simulate(BASE)
    for a, b in zip(plain.packets(), again.packets(), strict=True):
        assert a.stamp_ns == b.stamp_ns and a.camera == b.camera
        np.testing.assert_array_equal(a.xy, b.xy)
    other = simulate(replace(BASE, sigma_px=1.0, packet_loss=0.1, calibration_rotation_deg=0.5))
    np.testing.assert_array_equal(other.truth.keypoints, plain.truth.keypoints)
    assert not np.array_equal(simulate(replace(BASE, seed=2)).truth.keypoints, plain.truth.keypoints)


def test_correlated_noise_keeps_its_variance_and_its_time():
    for rate in (60.0, 30.0):
        sim = simulate(replace(BASE, noise_correlation=0.8, outlier_fraction=0.0, missing_fraction=0.0, frame_rate_hz=rate, seconds=8.0))
        error = np.concatenate([_errors(sim, c) for c in range(4)], axis=1)
        assert np.sqrt(np.nanmean(error**2)) == pytest.approx(4.0, rel=0.07)
        assert np.nanmean(error[1:] * error[:-1]) / np.nanmean(error**2) == pytest.approx(0.8 ** (60.0 / rate), abs=0.05)


def test_packets_come_in_the_order_of_their_stamps(plain):
    packets = list(plain.packets())
    assert len(packets) == 4 * 240
    stamps = [p.stamp_ns for p in packets]
    assert stamps == sorted(stamps)
    assert [p.camera for p in packets[:4]] == ["cam01", "cam02", "cam03", "cam04"]
    assert stamps[4] == round(1e9 / 60)
    first = packets[0]
    assert first.xy.dtype == np.float32 and first.xy.shape == (1, 26, 2) and first.confidence.shape == (1, 26) and first.person_ids.tolist() == [-1]


def test_clock_offsets_move_the_exposure_not_the_stamp():
    sim = simulate(replace(BASE, clock_offset_ms=20.0, sigma_px=0.0, missing_fraction=0.0, outlier_fraction=0.0))
    assert np.abs(sim.truth.clock_offset_s).max() > 0.005
    for c, offset in enumerate(sim.truth.clock_offset_s):
        time = sim.truth.time_s
        np.testing.assert_array_equal(sim.detections[c].stamp_ns, np.round(time * 1e9).astype(np.int64))
        moving = np.stack([np.interp(time + offset, time, sim.truth.keypoints[:, 11, i]) for i in range(3)], axis=1)
        error = sim.detections[c].xy[20:-20, 0, 11] - project(sim.true_cameras[c], moving)[20:-20]
        assert np.nanmax(np.abs(error)) < 0.6  # px; linear interpolation between frames


def test_lost_packets_silent_camera_and_jitter():
    sim = simulate(replace(BASE, packet_loss=0.2, silent_camera=1, silent_from_s=2.0, stamp_jitter_ms=2.0))
    packets = list(sim.packets())
    count = {c.name: sum(p.camera == c.name for p in packets) for c in sim.cameras}
    assert count["cam01"] == pytest.approx(192, abs=25)
    assert count["cam02"] == pytest.approx(96, abs=20)
    assert max(p.stamp_ns for p in packets if p.camera == "cam02") < 2.02e9
    jitter = sim.detections[0].stamp_ns[1:] * 1e-9 - sim.truth.time_s[1:]
    assert np.std(jitter) == pytest.approx(2e-3, rel=0.2)


def test_swaps_exchange_left_and_right():
    sim = simulate(replace(BASE, swaps_per_s=1.0, sigma_px=1.0, outlier_fraction=0.0, missing_fraction=0.0))
    names = list(sim.keypoint_set.names)
    left, right = names.index("LAnkle"), names.index("RAnkle")
    straight = swapped = 0
    for c, camera in enumerate(sim.true_cameras):
        pixel = project(camera, sim.truth.keypoints)
        far = np.linalg.norm(pixel[:, left] - pixel[:, right], axis=1) > 20
        seen = sim.detections[c].xy[:, 0]
        crossed = np.linalg.norm(seen[:, left] - pixel[:, right], axis=1) < np.linalg.norm(seen[:, left] - pixel[:, left], axis=1)
        straight += np.sum(far & ~crossed)
        swapped += np.sum(far & crossed)
    assert 0.02 < swapped / (straight + swapped) < 0.3


def test_a_stranger_is_seen_by_one_camera_in_random_order():
    sim = simulate(replace(BASE, strangers=1))
    people = {c.name: [p.xy.shape[0] for p in sim.packets() if p.camera == c.name] for c in sim.cameras}
    assert np.mean(people["cam01"]) > 1.7 and max(people["cam02"]) == 1
    order = sim.detections[0].order
    assert 0.3 < np.mean(order[:, 0] == 0) < 0.7
    # Both are in the image, apart from each other, and the stranger is smaller because farther.
    heights = [np.nanmedian(np.nanmax(sim.detections[0].xy[:, p, :, 1], axis=1) - np.nanmin(sim.detections[0].xy[:, p, :, 1], axis=1)) for p in (0, 1)]
    assert heights[1] < heights[0]


def test_occlusion_hides_what_is_behind_the_trunk(plain):
    camera = plain.true_cameras[0]
    eye = -camera.rotation.T @ camera.translation
    forward = np.array([-eye[0], -eye[1], 0.0]) / np.hypot(eye[0], eye[1])
    low, high = np.array([[0.0, 0.0, 0.8]]), np.array([[0.0, 0.0, 1.6]])
    points = np.array([[[0, 0, 1.2], [0, 0, 1.2] + 0.5 * forward, [0, 0, 1.2] - 0.5 * forward, [0, 0, 2.2] + 0.1 * forward, [np.nan] * 3]])
    assert hidden_points(camera, points, [(low, high, 0.13)])[0].tolist() == [False, True, False, False, False]
    sim = simulate(replace(BASE, occlusion_factor=3.0, outlier_fraction=0.0))
    error = np.concatenate([_errors(sim, c) for c in range(4)])
    assert 4.2 < np.sqrt(np.nanmean(error**2)) < 9.0


def test_the_person_is_not_the_nominal_body(plain):
    body, subject = plain.body, plain.subject
    data = mujoco.MjData(body.mj_model)
    mujoco.mj_kinematics(body.mj_model, data)
    nominal = body.mj_model.body_pos
    assert not np.allclose(subject.mj_model.body_pos[2:], nominal[2:], atol=1e-4)
    assert np.sqrt(np.nanmean(np.sum(subject.keypoint_offset**2, axis=1))) == pytest.approx(0.010, abs=1e-6)
    lengths = dict(zip(subject.segment_names, subject.segment_lengths_m, strict=True))
    assert 0 < abs(lengths["thigh_r"] / lengths["thigh_l"] - 1) < 0.06
    distance = np.linalg.norm(plain.truth.keypoints - plain.truth.keypoints_model, axis=2)
    assert distance == pytest.approx(np.broadcast_to(np.linalg.norm(subject.keypoint_offset, axis=1), distance.shape), abs=1e-9)
    names = list(plain.truth.joint_centre_names)
    thigh = np.linalg.norm(plain.truth.joint_centres[:, names.index("RHip")] - plain.truth.joint_centres[:, names.index("RKnee")], axis=1)
    assert thigh == pytest.approx(np.full_like(thigh, lengths["thigh_r"]), abs=1e-6)


def test_all_spreads_zero_give_the_nominal_body():
    sim = simulate(replace(BASE, size_spread=0.0, segment_spread=0.0, side_spread=0.0, joint_offset_mm=0.0, keypoint_offset_mm=0.0))
    np.testing.assert_allclose(sim.subject.mj_model.body_pos, sim.body.mj_model.body_pos, atol=1e-12)
    np.testing.assert_allclose(sim.truth.keypoints, sim.truth.keypoints_model, atol=1e-12)


@pytest.mark.parametrize("layout", ["ring", "arc"])
def test_the_person_is_in_view(layout):
    sim = simulate(replace(BASE, cameras=8, layout=layout, seconds=12.0, frame_rate_hz=20.0))
    for camera in sim.true_cameras:
        assert np.mean(np.isfinite(project(camera, sim.truth.keypoints)[..., 0])) > 0.93
    centres = np.array([-c.rotation.T @ c.translation for c in sim.true_cameras])
    assert np.all(centres[:, 2] > 1.4)
    assert (np.max(centres[:, 1]) < 0) == (layout == "arc")


def test_the_calibration_errors_have_the_asked_size():
    rng = np.random.default_rng(0)
    cameras = camera_rig(rng, 5, layout="ring", radius_m=4.25, width_px=1280, height_px=1024, focal_px=1050.0)
    for true, wrong in zip(cameras, perturbed(cameras, rng, np.deg2rad(0.5), 0.02), strict=True):
        assert np.rad2deg(Rotation.from_matrix(wrong.rotation @ true.rotation.T).magnitude()) == pytest.approx(0.5)
        assert np.linalg.norm(wrong.rotation.T @ wrong.translation - true.rotation.T @ true.translation) == pytest.approx(0.02)
        assert np.linalg.det(true.rotation) == pytest.approx(1.0)


def test_points_out_of_sight_have_no_pixels(plain):
    camera = plain.true_cameras[0]
    eye = -camera.rotation.T @ camera.translation
    behind = eye - camera.rotation[2]
    far_left = eye + camera.rotation[2] - 5 * camera.rotation[0]
    points = np.array([behind, far_left, [np.nan] * 3, eye + 3 * camera.rotation[2]])
    pixels = project(camera, points)
    assert np.isnan(pixels[:3]).all() and np.isfinite(pixels[3]).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sigma_px": -1.0}, "sigma_px"),
        ({"cameras": 0}, "cameras"),
        ({"path": "moon"}, "shuttle, circle"),
        ({"strangers": 5}, "strangers"),
        ({"silent_camera": 4}, "from 0 to 3"),
        ({"keypoint_set": "coco_71"}, "coco_17"),
        ({"seconds": float("nan")}, "seconds"),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(InputError, match=words):
        simulate(replace(BASE, **settings))


def test_other_keypoint_sets():
    for name in ("coco_wholebody_133", "movi_87", "coco_17"):
        sim = simulate(replace(BASE, keypoint_set=name, seconds=0.5))
        packet = next(sim.packets())
        assert packet.xy.shape[1] == len(sim.keypoint_set)
        unknown = sim.body.keypoint_body < 0
        assert np.isnan(packet.xy[0, unknown]).all() and (packet.confidence[0, unknown] == 0).all()
