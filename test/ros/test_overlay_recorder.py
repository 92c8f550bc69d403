"""overlay_node and recorder_node in process."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_fakes import PERIOD_NS, FakePipeline, linked, overrides, ring, ros, standing
from sensor_msgs.msg import CompressedImage, Image

from biomech_fit import msg as bf
from biomech_fit.config.fit import FitConfig
from biomech_fit.config.node import FitterNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import GaitEvent, KeypointPacket
from biomech_fit.formats.calibration import write_calibration
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.nodes.overlay import OverlayNode
from biomech_fit.nodes.recorder import RecorderNode
from biomech_fit.ros import qos
from biomech_fit.ros.collect import collected
from biomech_fit.ros.convert import body_state_msg, gait_event_msg, header, keypoints_2d_msg, time_ns
from biomech_fit.ros.convert_estimates import calibration_msg, cameras_from_msg, subject_from_msg, subject_msg
from biomech_fit.ros.image import compressed_array, image_array, image_msg
from biomech_fit.ros.same_set import SameSet
from biomech_fit.ros.setup import load_setup

CAMERAS = ring()
START_NS = 50_000_000_000


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    path = tmp_path_factory.mktemp("rig") / "Calib.toml"
    write_calibration(path, CAMERAS)
    fit = FitConfig()
    return load_setup(FitterNodeConfig(calibration=str(path), fit=replace(fit, stream=replace(fit.stream, frame_rate_hz=50.0))))


def state(setup, stamp_ns, lag_s=0.0):
    return body_state_msg(standing(setup.body, stamp_ns, ("cam1",), (), lag_s), setup.body, setup.keypoint_set, frame_id="world", latency_s=0.002)


@pytest.mark.parametrize("compressed", [False, True])
def test_overlay_draws_the_body_of_the_image(setup, compressed):
    kind, suffix = (CompressedImage, "/compressed") if compressed else (Image, "")
    picture = np.zeros((512, 640, 3), np.uint8)  # half the calibration's size
    message = image_msg(picture, Image(header=header(START_NS + 1_000_000, "cam1_optical_frame")))
    if compressed:
        message = CompressedImage(header=message.header, format="png", data=cv2.imencode(".png", picture)[1].tobytes())
    with ros() as (context, add, spin_until):
        values = {"camera": "cam1", "calibration": str(setup.calibration.path), "compressed": compressed, "wait_s": 0.3}
        node = add(OverlayNode(context=context, parameter_overrides=overrides(**values)))
        peer = add(Node("peer", context=context))
        got = []
        peer.create_subscription(kind, f"cam1/image_overlay{suffix}", got.append, 10)
        images = peer.create_publisher(kind, f"cam1/image_raw{suffix}", 10)
        states = peer.create_publisher(bf.BodyState, "body_state_smoothed", qos.results())
        assert spin_until(lambda: linked(node, peer))
        images.publish(message)
        states.publish(state(setup, START_NS))
        assert spin_until(lambda: len(got) == 1)
        drawn = (compressed_array if compressed else image_array)(got[0])
        assert drawn.shape == picture.shape and (drawn.max(-1) > 60).sum() > 300
        knee = setup.body.keypoint_names.index("RKnee")
        column, row = np.rint(CAMERAS[0].project(standing(setup.body, 0).keypoints[knee]) / 2).astype(int)[0]
        assert drawn[row, column].max() > 60
        message.header = header(START_NS + 5_000_000_000, "cam1_optical_frame")
        images.publish(message)  # no state comes for this one
        assert spin_until(lambda: len(got) == 2, 2.0)
        assert (compressed_array if compressed else image_array)(got[1]).max() < 20


def test_overlay_says_what_is_wrong(setup):
    with ros() as (context, _, _):
        for values, words in (({}, "camera is empty"), ({"camera": "cam7", "calibration": str(setup.calibration.path)}, "cam1, cam2, cam3")):
            with pytest.raises(InputError, match=words):
                OverlayNode(context=context, parameter_overrides=overrides(**values))
    with pytest.raises(InputError, match="bayer"):
        image_array(Image(encoding="bayer_rggb8", width=2, height=2, step=2, data=[0] * 4))
    with pytest.raises(InputError, match="bytes"):
        image_array(Image(encoding="bgr8", width=20, height=20, step=60, data=[0] * 4))
    with pytest.raises(InputError, match="cannot be read"):
        compressed_array(CompressedImage(format="jpeg", data=[1, 2, 3]))


def test_slow_states_survive_the_messages(setup):
    pipeline = FakePipeline(setup)
    for a, b in zip(cameras_from_msg(calibration_msg(pipeline.calibration(), frame_id="world")), CAMERAS, strict=True):
        assert np.allclose(a.rotation, b.rotation, atol=1e-12) and np.allclose(a.translation, b.translation) and a.name == b.name
        assert np.array_equal(a.matrix, b.matrix)
    estimate = replace(pipeline.subject(), scales=np.linspace(-0.1, 0.1, len(setup.body.scale_names)))
    back = subject_from_msg(subject_msg(estimate, setup.body, setup.keypoint_set), setup.body)
    assert np.allclose(back.scales, estimate.scales, atol=1e-6) and back.segment_lengths_m.keys() == estimate.segment_lengths_m.keys()


def test_recorder_says_what_cannot_be_written(setup, tmp_path, capfd):
    """A folder that cannot be made, at once; nothing received, at the end; and what is read at the start cannot be set later."""
    (tmp_path / "file").write_text("")
    calibration = str(setup.calibration.path)
    with ros() as (context, add, _):
        with pytest.raises(InputError, match="cannot be made"):
            RecorderNode(context=context, parameter_overrides=overrides(output=str(tmp_path / "file"), calibration=calibration))
        node = add(RecorderNode(context=context, parameter_overrides=overrides(output=str(tmp_path / "out"), calibration=calibration)))
        refused = node.set_parameters([Parameter("max_minutes", value=1.0)])[0]
        assert not refused.successful and "while the node runs" in refused.reason
        node.close()
        assert node.finished and node.exit_code == 2 and "there is nothing to write" in capfd.readouterr().err


def test_two_of_the_fitters_cameras_can_be_recorded(setup):
    """In the recording's order, with what the fitter told of these; one that it does not use is as it was loaded."""
    message = calibration_msg(replace(FakePipeline(setup).calibration(), time_offset_s=np.array([0.001, 0.002, 0.003])), frame_id="world")
    two = replace(setup, cameras=[CAMERAS[2], CAMERAS[0]])
    result = collected(two, [state(setup, START_NS), state(setup, START_NS + PERIOD_NS)], [], {}, message, subject_msg_of(setup))
    assert [camera.name for camera in result.cameras_refined] == ["cam3", "cam1"]
    unknown = replace(setup, cameras=[CAMERAS[0], replace(CAMERAS[1], name="other")])
    assert [c.name for c in collected(unknown, [state(setup, START_NS)], [], {}, message, subject_msg_of(setup)).cameras_refined] == ["cam1", "other"]


def test_a_recording_of_another_model_keeps_what_there_is(setup):
    """Coordinates go by their names; one that the message lacks is missing, and everything else is kept."""
    whole, message = state(setup, START_NS), calibration_msg(FakePipeline(setup).calibration(), frame_id="world")
    known = np.array(whole.position, float)
    order = np.roll(np.arange(len(known)), 3)
    turned, lacking = state(setup, START_NS), state(setup, START_NS)
    for name in ("joint_names", "position", "velocity", "position_std"):
        setattr(turned, name, [getattr(whole, name)[i] for i in order])
        setattr(lacking, name, list(getattr(whole, name))[:-1])
    for sent, expected in ((turned, known), (lacking, np.append(known[:-1], np.nan))):
        result = collected(setup, [sent], [], {}, message, subject_msg_of(setup))
        np.testing.assert_allclose(result.causal.position[0], expected, atol=1e-6)
        assert np.isfinite(result.causal.keypoints).any()


def test_a_recording_knows_the_other_names_of_its_keypoint_set(setup):
    body = standing(setup.body, START_NS)
    xy, k = np.float32(CAMERAS[0].project(body.keypoints)), len(setup.keypoint_set)
    for name in ("halpe_26", "HALPE_26"):
        message = bf.Keypoints2D(header=header(START_NS, "cam1_optical_frame"), camera="cam1", keypoint_set=name, person_ids=[-1])
        message.xy, message.confidence = xy.ravel().tolist(), [0.9] * k
        calibration = calibration_msg(FakePipeline(setup).calibration(), frame_id="world")
        result = collected(setup, [state(setup, START_NS)], [], {"cam1": [message]}, calibration, subject_msg_of(setup))
        assert (result.observed_confidence[0, 0] > 0).sum() == k, name


def test_refused_keypoint_sets_are_looked_up_once(setup, monkeypatch):
    looked = []
    monkeypatch.setattr("biomech_fit.ros.same_set.load_keypoint_set", lambda name: looked.append(name) or load_keypoint_set(name))
    same = SameSet("halpe_26")
    for _ in range(3):
        for name, words in (("coco_17", "configured for halpe_26"), ("nonsense", "nonsense")):
            with pytest.raises(InputError, match=words):
                same.check(name, "Keypoints of camera 'a'")
        same.check("HALPE_26", "Keypoints of camera 'a'")
    assert looked == ["coco_17", "nonsense", "HALPE_26"]


def subject_msg_of(setup):
    return subject_msg(FakePipeline(setup).subject(), setup.body, setup.keypoint_set)


def test_recorder_writes_what_came(setup, tmp_path):
    pipeline = FakePipeline(setup)
    k = len(setup.keypoint_set)
    with ros() as (context, add, spin_until):
        values = {"output": str(tmp_path), "calibration": str(setup.calibration.path), "frame_rate_hz": 50.0, "idle_s": 0.5}
        node = add(RecorderNode(context=context, parameter_overrides=overrides(**values)))
        peer = add(Node("peer", context=context))
        states = peer.create_publisher(bf.BodyState, "body_state", qos.results())
        late = peer.create_publisher(bf.BodyState, "body_state_smoothed", qos.results())
        keypoints = [peer.create_publisher(bf.Keypoints2D, f"{c.name}/keypoints", qos.keypoints()) for c in CAMERAS]
        events = peer.create_publisher(bf.GaitEvent, "gait_events_smoothed", qos.results())
        calibration = peer.create_publisher(bf.CameraCalibrationState, "calibration", qos.latched())
        subject = peer.create_publisher(bf.SubjectModel, "subject_model", qos.latched())
        assert spin_until(lambda: linked(node, peer))
        calibration.publish(calibration_msg(pipeline.calibration(), frame_id="world"))
        subject.publish(subject_msg(pipeline.subject(), setup.body, setup.keypoint_set))
        points = standing(setup.body, 0).keypoints
        for n in range(20):
            stamp = START_NS + n * PERIOD_NS
            for camera, publisher in zip(CAMERAS, keypoints, strict=True):
                xy = camera.project(points)[None] + 2.0
                packet = KeypointPacket(camera.name, stamp, xy.astype(np.float32), np.full((1, k), 0.9, np.float32), np.array([-1], np.int32))
                publisher.publish(keypoints_2d_msg(packet, camera, setup.keypoint_set))
            if n != 7:  # one frame is lost
                states.publish(state(setup, stamp))
            if n >= 5:
                late.publish(state(setup, stamp - 5 * PERIOD_NS, 0.1))
            spin_until(lambda: False, 0.005)
        events.publish(gait_event_msg(GaitEvent(START_NS + 100_000_000, 0, 1, np.zeros(3), 0.01, 0.9, 0.1), frame_id="world"))
        assert spin_until(lambda: node.finished, 30.0)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames"] == 19 and summary["topics"]["frames_left_out"] == 1 and summary["topics"]["keypoints"]["cam1"] == 20
    assert summary["reprojection_px"]["median"] == pytest.approx(np.sqrt(8), abs=0.05)
    assert (tmp_path / "report.html").is_file() and (tmp_path / "smoothed" / "joint_angles.mot").is_file()
    assert "0.1" in (tmp_path / "smoothed" / "gait_events.csv").read_text().splitlines()[1]
    assert time_ns(node.states[0].header.stamp) == START_NS
