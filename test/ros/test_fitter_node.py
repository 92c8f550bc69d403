"""The fitter node in process, with a small pipeline: transitions, parameters, bad input, a dropped camera, a clock that goes back."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_fakes import PATIENT, PERIOD_NS, FakePipeline, linked, overrides, ring, ros
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray

from biomech_fit import msg as bf
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import KeypointPacket
from biomech_fit.formats.calibration import read_calibration, write_calibration
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.world_up import fallen_camera
from biomech_fit.nodes.fitter import FitterNode
from biomech_fit.ros import qos
from biomech_fit.ros.convert import keypoints_2d_msg, time_msg

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
CAMERAS = ring()
SET = load_keypoint_set("halpe_26")
K = len(SET)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    path = tmp_path_factory.mktemp("rig") / "Calib.toml"
    write_calibration(path, CAMERAS)
    return str(path)


class Rig:
    """The node under test with a detector and a listener beside it."""

    def __init__(self, context, add, spin_until, calibration, **parameters):
        self.spin_until = spin_until
        self.pipelines = []
        values = {"calibration": calibration, "fit__stream__frame_rate_hz": 50.0, "slow_rate_hz": 10.0, **PATIENT, **parameters}
        self.node = add(FitterNode(pipeline_factory=self._make, context=context, parameter_overrides=overrides(**values)))
        self.peer = add(Node("peer", context=context))
        self.publishers = {c.name: self.peer.create_publisher(bf.Keypoints2D, f"{c.name}/keypoints", qos.keypoints()) for c in CAMERAS}
        self.got = {}
        topics = {"joint_states": JointState, "body_state": bf.BodyState, "body_state_smoothed": bf.BodyState}
        topics |= {"markers": MarkerArray, "/diagnostics": DiagnosticArray}
        latched = {"calibration": bf.CameraCalibrationState, "subject_model": bf.SubjectModel, "robot_description": String}
        for name, kind in {**topics, **latched}.items():
            self.got[name] = []
            self.peer.create_subscription(kind, name, self.got[name].append, qos.latched() if name in latched else qos.results())
        self.stamp_ns = 1_000_000_000_000

    def _make(self, setup):
        self.pipelines.append(FakePipeline(setup))
        return self.pipelines[-1]

    @property
    def pipeline(self):
        return self.pipelines[-1]

    @property
    def state(self):
        return self.node._state_machine.current_state[0]

    def activate(self):
        assert self.node.trigger_configure() == SUCCESS
        assert self.node.trigger_activate() == SUCCESS
        assert self.spin_until(lambda: linked(self.node, self.peer) and self.got["robot_description"])

    def message(self, which, /, **changes):
        packet = KeypointPacket(which.name, self.stamp_ns, np.full((1, K, 2), 500, np.float32), np.full((1, K), 0.9, np.float32), np.array([-1], np.int32))
        message = keypoints_2d_msg(packet, which, SET)
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    def frame(self, cameras=CAMERAS, /, **changes):
        self.stamp_ns += PERIOD_NS
        for camera in cameras:
            self.publishers[camera.name].publish(self.message(camera, **changes))

    def frames(self, count, cameras=CAMERAS):
        """Sends frames one by one and waits for each to come out."""
        for _ in range(count):
            self.frame(cameras)
            assert self.spin_until(lambda: self.got["body_state"] and self.got["body_state"][-1].header.stamp == time_msg(self.stamp_ns))

    def sentences(self):
        return [s.message for d in self.got["/diagnostics"] for s in d.status]

    def call(self, name):
        client = self.peer.create_client(Trigger, f"fitter_node/{name}")
        assert client.wait_for_service(5.0)
        future = client.call_async(Trigger.Request())
        assert self.spin_until(future.done)
        return future.result()


@pytest.fixture
def rig(calibration):
    with ros() as (context, add, spin_until):
        yield Rig(context, add, spin_until, calibration)


def test_a_whole_life(rig):
    rig.activate()
    assert rig.pipeline.compiled and rig.state == State.PRIMARY_STATE_ACTIVE
    rig.frames(8)
    assert rig.spin_until(lambda: rig.got["body_state_smoothed"] and rig.got["/diagnostics"] and rig.got["calibration"] and rig.got["subject_model"])
    assert rig.spin_until(lambda: len(rig.got["joint_states"]) >= 8)
    joints = rig.got["joint_states"][-1]
    body = rig.got["body_state"][-1]
    assert "knee_angle_r" in joints.name and np.isfinite(joints.position).all()
    assert body.status == bf.BodyState.STATUS_OK and list(body.cameras_used) == ["cam1", "cam2", "cam3"]
    assert np.isfinite(np.array(body.keypoints)).all() and len(body.keypoints) == 3 * len(body.keypoint_names)
    assert body.header.stamp == time_msg(rig.stamp_ns) and body.header.frame_id == "world"
    assert rig.got["body_state_smoothed"][-1].lag_s == pytest.approx(0.1)
    assert "<robot" in rig.got["robot_description"][-1].data
    assert rig.spin_until(lambda: {m.ns for a in rig.got["markers"] for m in a.markers} >= {"segments", "keypoints", "joint_axes", "cameras"})
    assert rig.node.trigger_deactivate() == SUCCESS
    assert rig.pipeline.resets == 1
    assert rig.node.trigger_activate() == SUCCESS
    assert rig.spin_until(lambda: linked(rig.node, rig.peer))
    rig.frames(2)
    assert rig.node.trigger_deactivate() == SUCCESS
    assert rig.node.trigger_cleanup() == SUCCESS
    assert rig.state == State.PRIMARY_STATE_UNCONFIGURED
    assert rig.node.trigger_configure() == SUCCESS
    assert rig.node.trigger_shutdown() == SUCCESS
    assert rig.state == State.PRIMARY_STATE_FINALIZED


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"calibration": ""}, "calibration is empty"),
        ({"calibration": "/nowhere/Calib.toml"}, "Calib.toml"),
        ({"cameras": ["cam1", "cam9"]}, "cam9"),
        ({"keypoint_set": "halpe_27"}, "halpe_27"),
        ({"model": "nobody"}, "nobody"),
        ({"fit__stream__sync": "approximate"}, "message_filters"),
    ],
)
def test_configure_fails_with_a_sentence(calibration, values, words, monkeypatch):
    if "fit__stream__sync" in values:
        monkeypatch.setitem(__import__("sys").modules, "message_filters", None)
    with ros() as (context, add, spin_until):
        rig = Rig(context, add, spin_until, **{"calibration": calibration, **values})
        said = []
        monkeypatch.setattr(
            rig.node, "get_logger", lambda: type("L", (), {"error": lambda _, s: said.append(s), "info": lambda *_: None, "warning": lambda *_: None})()
        )
        assert rig.node.trigger_configure() == FAILURE
        assert rig.state == State.PRIMARY_STATE_UNCONFIGURED
        assert len(said) == 1 and words in said[0] and said[0][-1] in ".?"
        assert not rig.pipelines


@pytest.mark.parametrize("name", ["2-left", "cam 02", "cam-1", "left__2"])
def test_a_camera_that_cannot_have_topics_is_named(name, tmp_path, capfd):
    path = tmp_path / "Calib.toml"
    write_calibration(path, [replace(CAMERAS[0], name=name), *CAMERAS[1:]])
    with ros() as (context, add, spin_until):
        rig = Rig(context, add, spin_until, str(path))
        assert rig.node.trigger_configure() == FAILURE
        assert f"Camera '{name}' cannot have topics" in capfd.readouterr().err
        rig = Rig(context, add, spin_until, str(path), cameras=["cam2", "cam3"])
        assert rig.node.trigger_configure() == SUCCESS


def test_parameters_are_checked_at_the_start(calibration):
    with ros() as (context, add, spin_until):
        for values, words in (
            ({"fit__noise__pixel_sigma_px": -1.0}, "from 0.1 to 100 px"),
            ({"fit__device": "tpu"}, "auto, cpu, gpu"),
            ({"fit__window__frames": "many"}, "whole number"),
        ):
            with pytest.raises(InputError, match=words):
                Rig(context, add, spin_until, calibration, **values)


def test_parameters_are_checked_when_set(rig):
    def put(name, value):
        return rig.node.set_parameters([Parameter(name, value=value)])[0]

    assert put("fit.noise.pixel_sigma_px", 5).successful  # a whole number where a number is wanted
    assert not put("fit.noise.pixel_sigma_px", 1000.0).successful
    refused = put("fit.noise.robust_kernel", "hubert")
    assert not refused.successful and "geman_mcclure" in refused.reason and "fit.noise.robust_kernel" in refused.reason
    assert put("fit.window.frames", 16).successful
    descriptor = rig.node.describe_parameter("fit.stream.deadline_s")
    assert "s." in descriptor.description and descriptor.floating_point_range[0].to_value == 2.0
    assert rig.node.trigger_configure() == SUCCESS
    assert rig.pipeline.setup.config.window.frames == 16 and rig.pipeline.setup.config.noise.pixel_sigma_px == 5.0
    locked = put("fit.window.frames", 32)
    assert not locked.successful and "clean it up" in locked.reason
    late = put("config", "other.yaml")
    assert not late.successful and "start it anew" in late.reason


def test_what_yaml_makes_of_a_value_is_understood(calibration):
    """y is true in YAML, and an empty list has no type there."""
    with ros() as (context, add, _):
        given = [Parameter("calibration", value=calibration), Parameter("world_up", value=True), Parameter("cameras", Parameter.Type.NOT_SET, None)]
        node = add(FitterNode(pipeline_factory=FakePipeline, context=context, parameter_overrides=given))
        assert node.get_parameter("world_up").value == "y" and list(node.get_parameter("cameras").value) == []


def test_markers_follow_their_parameters(rig):
    """While the node is active: none, and then few."""
    rig.activate()
    rig.frames(3)
    assert rig.spin_until(lambda: bool(rig.got["markers"]))
    assert rig.node.set_parameters([Parameter("publish_markers", value=False)])[0].successful
    rig.spin_until(lambda: False, 0.3)
    rig.got["markers"].clear()
    rig.frames(5)
    rig.spin_until(lambda: False, 0.3)
    assert not rig.got["markers"]
    assert rig.node.set_parameters([Parameter("publish_markers", value=True), Parameter("marker_rate_hz", value=1.0)])[1].successful
    rig.frames(10)
    rig.spin_until(lambda: False, 0.3)
    assert sum(any(m.ns == "keypoints" for m in a.markers) for a in rig.got["markers"]) <= 2


def test_settings_file_gives_way_to_parameters(calibration, tmp_path):
    path = tmp_path / "fit.yaml"
    path.write_text("window: {frames: 20}\nnoise: {pixel_sigma_px: 7}\n")
    with ros() as (context, add, spin_until):
        rig = Rig(context, add, spin_until, calibration, config=str(path), fit__window__frames=24)
        assert rig.node.trigger_configure() == SUCCESS
        assert rig.pipeline.setup.config.window.frames == 24 and rig.pipeline.setup.config.noise.pixel_sigma_px == 7.0
        path.write_text("windw: 3\n")
        with pytest.raises(InputError, match=r"windw.*did you mean window"):
            Rig(context, add, spin_until, calibration, config=str(path))


def test_a_dropped_camera_does_not_stop_the_stream(rig):
    rig.activate()
    rig.frames(3)
    rig.frames(3, CAMERAS[:2])
    assert list(rig.got["body_state"][-1].cameras_missing) == ["cam3"]
    rig.frames(1, CAMERAS[:1])
    state = rig.got["body_state"][-1]
    assert state.status == bf.BodyState.STATUS_TOO_FEW_CAMERAS and "two" in state.status_text and not len(state.position)


def test_bad_messages_are_dropped_with_a_sentence(rig):
    said = []
    problem = rig.node.diagnostics.problem
    rig.node.diagnostics.problem = lambda name, sentence, *a, **k: (said.append(sentence), problem(name, sentence, *a, **k))
    rig.activate()
    rig.frames(1)
    floats = [0.5] * K
    bad = {
        "coordinates": {"xy": [1.0] * 7},
        "image of": {"width": 640, "height": 480},
        "halpe_26": {"keypoint_set": "coco_17"},
        "nothing_like_it": {"keypoint_set": "nothing_like_it"},
        "cam9": {"camera": "cam9"},
        "on the topic of": {"camera": "cam2"},
        "negative": {"confidence": [*floats[:-1], -1.0]},
        "over 1": {"confidence": [*floats[:-1], 3.0]},
        "missing confidence": {"confidence": [*floats[:-1], math.nan]},
    }
    for changes in bad.values():
        rig.frame(CAMERAS[:1], **changes)
    stampless = rig.message(CAMERAS[0])
    stampless.header.stamp = time_msg(0)
    rig.publishers["cam1"].publish(stampless)
    for words in [*bad, "no stamp"]:
        assert rig.spin_until(lambda words=words: any(words in s for s in said)), words
    assert rig.spin_until(lambda: any("no stamp" in s for s in rig.sentences()))
    rig.frames(2)
    fed = [p for p in rig.pipeline.packets if p.camera == "cam1"]
    assert all((p.confidence >= 0).all() and (p.confidence <= 1).all() for p in fed)
    assert rig.got["body_state"][-1].status == bf.BodyState.STATUS_OK


def test_no_nan_goes_out(rig):
    rig.activate()
    rig.frames(2)
    rig.pipeline.nan_next = True
    rig.frames(1)
    assert rig.spin_until(lambda: any("no finite value" in s for s in rig.sentences()))
    rig.frames(1)
    assert all(np.isfinite(j.position).all() for j in rig.got["joint_states"])
    assert all(np.isfinite(np.array(b.position)).all() for b in rig.got["body_state"])


def test_a_failing_frame_starts_the_fit_anew(rig):
    rig.activate()
    rig.frames(2)
    rig.pipeline.fail_next = True
    assert rig.spin_until(lambda: rig.pipeline.resets == 1)
    assert rig.spin_until(lambda: any("on purpose" in s for s in rig.sentences()))
    rig.frames(2)


def test_services(rig, tmp_path):
    assert rig.node.trigger_configure() == SUCCESS
    assert not rig.call("reset").success
    rig.node.set_parameters([Parameter("save_directory", value=str(tmp_path))])
    assert rig.node.trigger_activate() == SUCCESS
    for name in ("save_subject", "save_calibration"):
        answer = rig.call(name)
        assert not answer.success and "No person has been tracked" in answer.message
    assert rig.spin_until(lambda: linked(rig.node, rig.peer))
    rig.frames(2)
    for name, file in (("save_subject", "subject.yaml"), ("save_calibration", "calibration.toml")):
        answer = rig.call(name)
        assert answer.success, answer.message
        assert (tmp_path / file).is_file()
    assert rig.call("fit_subject").success
    resets = rig.pipeline.resets
    assert rig.call("reset").success and rig.pipeline.resets == resets + 1
    rig.node.set_parameters([Parameter("save_directory", value=str(tmp_path / "subject.yaml"))])  # a file, not a folder
    rig.frames(1)
    assert not rig.call("save_subject").success


def test_a_calibration_with_another_axis_up(tmp_path):
    """The fit works in a world with z up, and what is saved is in the calibration's own world again."""
    path = tmp_path / "Calib.toml"
    write_calibration(path, [fallen_camera(camera, "-y") for camera in CAMERAS])
    with ros() as (context, add, spin_until):
        rig = Rig(context, add, spin_until, str(path), world_up="-y", save_directory=str(tmp_path))
        rig.activate()
        for camera, upright in zip(rig.pipeline.setup.cameras, CAMERAS, strict=True):
            np.testing.assert_allclose(camera.rotation, upright.rotation, atol=1e-9)
            np.testing.assert_allclose(camera.translation, upright.translation, atol=1e-9)
        rig.frames(1)
        assert rig.call("save_calibration").success
    for saved, loaded in zip(read_calibration(tmp_path / "calibration.toml").cameras, read_calibration(path).cameras, strict=True):
        np.testing.assert_allclose(saved.rotation, loaded.rotation, atol=1e-9)
        np.testing.assert_allclose(saved.translation, loaded.translation, atol=1e-9)


def test_a_subject_trial_counts_good_frames_and_fixes_the_body(calibration, tmp_path):
    """0.5 s of frames 20 ms apart, with one camera alone for a while in the middle: only good frames one after the other count."""
    with ros() as (context, add, spin_until):
        rig = Rig(context, add, spin_until, calibration, fit_subject_s=0.5, subject_name="Ada", save_directory=str(tmp_path))
        rig.activate()
        rig.frames(2)
        assert rig.spin_until(lambda: any("estimated while the person moves" in s for s in rig.sentences()))
        resets = rig.pipeline.resets
        answer = rig.call("fit_subject")
        assert answer.success and "0.5 s" in answer.message and rig.pipeline.resets == resets + 1
        rig.frames(11)
        assert rig.spin_until(lambda: any("0.2 of 0.5 s of good frames" in s for s in rig.sentences()))
        assert "0.2 of 0.5 s" in rig.call("save_subject").message
        rig.frames(12, CAMERAS[:1])
        rig.frames(15)
        assert not rig.pipeline.subjects
        rig.frames(2)
        assert rig.spin_until(lambda: rig.pipeline.subjects)
        subject = rig.pipeline.subjects[0]
        assert subject.name == "Ada" and set(subject.keypoint_offsets) <= set(SET.names)
        assert rig.spin_until(lambda: any("known from a trial of 0.5 s" in s for s in rig.sentences()))
        assert any(s.lag_s == pytest.approx(0.08) for s in rig.got["body_state_smoothed"])
        rig.frames(3)
        assert len(rig.pipeline.subjects) == 1


def test_saved_files_take_no_other_ones_place(rig, tmp_path):
    """A subject.yaml of somebody else and the loaded calibration stay; what this node wrote itself is renewed."""
    for name in ("subject.yaml", "calibration.toml"):
        (tmp_path / name).write_text("of somebody else")
    rig.activate()
    rig.frames(2)
    rig.node.set_parameters([Parameter("save_directory", value=str(tmp_path))])
    for _ in range(2):
        assert rig.call("save_subject").message.endswith("subject_2.yaml")
        assert rig.call("save_calibration").message.endswith("calibration_2.toml")
    assert (tmp_path / "subject.yaml").read_text() == (tmp_path / "calibration.toml").read_text() == "of somebody else"
    rig.node.set_parameters([Parameter("save_overwrites", value=True)])
    assert rig.call("save_subject").message.endswith("subject.yaml")
    assert "model: biomech_body" in (tmp_path / "subject.yaml").read_text()


def test_a_clock_that_goes_back(calibration):
    with ros() as (context, add, spin_until):
        rig = Rig(context, add, spin_until, calibration, use_sim_time=True)
        clock = rig.peer.create_publisher(Clock, "/clock", 10)
        assert rig.spin_until(clock.get_subscription_count)

        def set_clock(seconds):
            clock.publish(Clock(clock=time_msg(int(seconds * 1e9))))
            assert rig.spin_until(lambda: abs(rig.node._now_ns() - seconds * 1e9) < 1e6)

        set_clock(1000.0)
        rig.activate()
        rig.frames(3)
        set_clock(1000.5)
        assert rig.pipeline.resets == 0
        set_clock(900.0)
        assert rig.spin_until(lambda: rig.pipeline.resets == 1)
        rig.stamp_ns = 900_000_000_000
        rig.frames(3)
        assert rig.got["body_state"][-1].header.stamp == time_msg(rig.stamp_ns)
