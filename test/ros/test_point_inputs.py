"""3D points as the fitter's input: messages checked, and over real DDS the same angles as through the Python API."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from ros_fakes import linked, overrides, ros
from std_msgs.msg import String
from std_srvs.srv import Trigger

from biomech_fit import msg as bf
from biomech_fit.config import FitConfig
from biomech_fit.config.node import FitterNodeConfig
from biomech_fit.core.errors import InputError
from biomech_fit.core.types import PointsPacket, Status
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.formats.model import load_body_model
from biomech_fit.nodes.fitter import FitterNode
from biomech_fit.ros import qos
from biomech_fit.ros.convert import header, keypoints_3d_msg
from biomech_fit.ros.point_inputs import PointReader
from biomech_fit.ros.setup import load_setup
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate
from biomech_fit.stream.points_pipeline import PointsPipeline

START_NS = 1_000_000_000_000
H36M = load_keypoint_set("h36m_17")


def message(**changes: object) -> bf.Keypoints3D:
    fields = {"header": header(START_NS, "world"), "keypoint_set": "h36m_17", "xyz": array("f", np.arange(51, dtype=np.float32))} | changes
    return bf.Keypoints3D(**fields)


def test_messages_become_packets_or_one_sentence() -> None:
    reader = PointReader(H36M, "world")
    packet = reader.read(message(keypoint_set="H36M", person_ids=array("i", [3]), sigma=array("f", [0.02] * 17)), 5)
    assert packet.stamp_ns == START_NS and packet.received_ns == 5 and packet.person_ids.tolist() == [3]
    np.testing.assert_array_equal(packet.xyz, np.arange(51).reshape(1, 17, 3))
    np.testing.assert_allclose(packet.sigma_m, np.full((1, 17), 0.02), rtol=1e-6)
    two = reader.read(message(xyz=array("f", np.zeros(102, np.float32))), 5)
    assert two.xyz.shape == (2, 17, 3) and two.sigma_m is None and two.person_ids.tolist() == [-1, -1]
    by_name = reader.read(message(keypoint_set="", names=["hip", "Tail", "RFoot"], xyz=array("f", [1, 1, 1, 2, 2, 2, 3, 3, 3])), 5)
    assert by_name.xyz[0, 0].tolist() == [1, 1, 1] and by_name.xyz[0, 3].tolist() == [3, 3, 3] and np.isnan(by_name.xyz).sum() == 45
    assert reader.read(message(person_ids=array("i"), xyz=array("f")), 5).xyz.shape == (0, 17, 3)
    for changes, words in (
        ({"header": header(0, "world")}, "no stamp"),
        ({"header": header(START_NS, "camera")}, "frame 'camera'"),
        ({"keypoint_set": "coco_17"}, "coco_17"),
        ({"keypoint_set": "nonsense"}, "nonsense"),
        ({"keypoint_set": "", "names": ["Tail"]}, "Tail"),
        ({"keypoint_set": ""}, "no names"),
        ({"xyz": array("f", [0.0] * 50)}, "51"),
        ({"sigma": array("f", [0.0] * 16)}, "16 standard deviations"),
    ):
        with pytest.raises(InputError) as error:
            reader.read(message(**changes), 5)
        assert words in str(error.value), str(error.value)


def test_points_need_no_calibration_and_take_none() -> None:
    setup = load_setup(FitterNodeConfig(input="keypoints_3d", keypoint_set="h36m_17"))
    assert setup.cameras == [] and setup.calibration is None and setup.notices == []
    with pytest.raises(InputError, match="needs no cameras"):
        load_setup(FitterNodeConfig(input="keypoints_3d", calibration="Calib.toml"))
    with pytest.raises(InputError, match="keypoints_3d"):
        load_setup(FitterNodeConfig())


def test_topic_and_api_give_the_same_angles() -> None:
    """Points of a walk with noise and gaps on `keypoints_3d`; the body comes back on the fitter's usual topics, and its calibration cannot be saved."""
    simulation = simulate(SimConfig(seconds=1.5, cameras=2, frame_rate_hz=30.0, keypoint_set="h36m_17"))
    rng = np.random.default_rng(0)
    xyz = np.float32(simulation.truth.keypoints + 0.005 * rng.standard_normal(simulation.truth.keypoints.shape))
    xyz[rng.random(xyz.shape[:2]) < 0.05] = np.nan
    stamps = [START_NS + round(t * 1e9) for t in simulation.truth.time_s]
    with ros() as (context, add, spin_until):
        parameters = overrides(input="keypoints_3d", keypoint_set="h36m_17", fit__stream__frame_rate_hz=30.0)
        node = add(FitterNode(context=context, parameter_overrides=parameters))
        peer = add(Node("peer", context=context))
        publisher = peer.create_publisher(bf.Keypoints3D, "keypoints_3d", qos.keypoints())
        got, late = [], []
        peer.create_subscription(bf.BodyState, "body_state", got.append, qos.results())
        peer.create_subscription(bf.BodyState, "body_state_smoothed", late.append, qos.results())
        slow = {"calibration": bf.CameraCalibrationState, "subject_model": bf.SubjectModel, "robot_description": String}
        latched = {name: [] for name in slow}
        for name, kind in slow.items():
            peer.create_subscription(kind, name, latched[name].append, qos.latched())
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert spin_until(lambda: linked(node, peer))
        for stamp, points in zip(stamps, xyz, strict=True):
            frames = len(got)
            publisher.publish(keypoints_3d_msg(stamp, "world", H36M, points[None]))
            spin_until(lambda frames=frames: len(got) > frames, 2.0)
        client = peer.create_client(Trigger, "fitter_node/save_calibration")
        assert client.wait_for_service(5.0)
        answer = client.call_async(Trigger.Request())
        assert spin_until(answer.done, 10.0) and not answer.result().success and "no cameras" in answer.result().message
        assert spin_until(lambda: all(latched.values()), 5.0), [name for name, messages in latched.items() if not messages]
        assert not latched["calibration"][-1].cameras and latched["subject_model"][-1].frames > 0
        node.trigger_deactivate()
        spin_until(lambda: len(late) >= len(got), 2.0)
        pipeline = PointsPipeline(load_body_model(None, H36M), H36M, FitConfig(stream=node.settings.fit.stream))
        results = []
        for stamp, points in zip(stamps, xyz, strict=True):
            pipeline.feed_keypoints(PointsPacket(stamp, points[None]))
            results += pipeline.poll()
        results += pipeline.flush()
        causal = {r.stamp_ns: r.causal.position for r in results if r.causal is not None}
        assert len(got) == len(causal) == len(stamps) and {m.status for m in got} == {int(Status.OK)}
        names = list(got[0].joint_names)
        columns = [load_body_model(None, H36M).coordinate_names.index(n) for n in names]
        for m in got:
            stamp = m.header.stamp.sec * 1_000_000_000 + m.header.stamp.nanosec
            np.testing.assert_allclose(m.position, causal[stamp][columns], atol=1e-5)
        assert len(late) >= len(got) - 2 and all(m.lag_s >= 0 for m in late)
