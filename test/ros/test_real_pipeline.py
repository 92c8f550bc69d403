"""The real pipeline behind the fitter node: the same frames through topics and through the Python API give the same angles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from ros_fakes import linked, overrides, ros

from biomech_fit import msg as bf
from biomech_fit.config import FitConfig
from biomech_fit.formats.calibration import read_calibration, write_calibration
from biomech_fit.formats.model import load_body_model
from biomech_fit.ros import qos
from biomech_fit.ros.convert import keypoints_2d_msg, time_ns
from biomech_fit.sim.config import SimConfig
from biomech_fit.sim.simulate import simulate

pipeline_module = pytest.importorskip("biomech_fit.stream.pipeline")
fitter = pytest.importorskip("biomech_fit.nodes.fitter")

START_NS = 1_000_000_000_000
RATE_HZ, FRAMES, LAG_S = 30.0, 12, 0.2
"""Of the same shapes as in the tests of `track`: compiled once for both."""
CONFIG = FitConfig()
CONFIG = replace(CONFIG, stream=replace(CONFIG.stream, frame_rate_hz=RATE_HZ), window=replace(CONFIG.window, frames=FRAMES, lag_s=LAG_S))
PARAMETERS = {"fit__stream__frame_rate_hz": RATE_HZ, "fit__window__frames": FRAMES, "fit__window__lag_s": LAG_S, "fit__stream__deadline_s": 1.0}


def test_topics_and_api_give_the_same_angles(tmp_path):
    simulation = simulate(SimConfig(seconds=1.5, cameras=3, frame_rate_hz=RATE_HZ, seed=3))
    path = tmp_path / "Calib.toml"
    write_calibration(path, simulation.cameras)
    cameras = read_calibration(path).cameras
    packets = [replace(p, stamp_ns=p.stamp_ns + START_NS) for p in simulation.packets()]
    pipeline = pipeline_module.FitPipeline(load_body_model(None, simulation.keypoint_set), cameras, simulation.keypoint_set, CONFIG)
    results = []
    for packet in packets:
        pipeline.feed_keypoints(packet)
        results += pipeline.poll()
    results += pipeline.flush()
    causal = {r.stamp_ns: r.causal.position for r in results if r.causal is not None}
    smoothed = {r.smoothed.stamp_ns: r.smoothed.position for r in results if r.smoothed is not None}
    assert len(causal) >= 40 and len(smoothed) >= 40

    with ros() as (context, add, spin_until):
        node = add(fitter.FitterNode(context=context, parameter_overrides=overrides(calibration=str(path), **PARAMETERS)))
        peer = add(Node("peer", context=context))
        by_name = {c.name: c for c in cameras}
        publishers = {name: peer.create_publisher(bf.Keypoints2D, f"{name}/keypoints", qos.keypoints()) for name in by_name}
        got, late = [], []
        peer.create_subscription(bf.BodyState, "body_state", got.append, qos.results())
        peer.create_subscription(bf.BodyState, "body_state_smoothed", late.append, qos.results())
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        assert spin_until(lambda: linked(node, peer))
        for n, packet in enumerate(packets):
            publishers[packet.camera].publish(keypoints_2d_msg(packet, by_name[packet.camera], simulation.keypoint_set))
            if n % len(cameras) == len(cameras) - 1:
                frames = len(got)
                spin_until(lambda frames=frames: len(got) > frames, 0.5)
        assert spin_until(lambda: len(got) >= len(causal), 10.0)
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert spin_until(lambda: len(late) >= len(smoothed), 10.0)
    for messages, api in ((got, causal), (late, smoothed)):
        for message in messages:
            if len(message.position):
                difference = np.abs(np.array(message.position) - api[time_ns(message.header.stamp)])
                assert np.rad2deg(difference.max()) < 0.1
