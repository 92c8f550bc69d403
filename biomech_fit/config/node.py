"""Settings of the ROS nodes that are not settings of the fit itself. Parameters and docs/parameters.md come from these declarations."""

# ruff: noqa: RUF009 (`group` only declares a field)

from __future__ import annotations

from dataclasses import dataclass

from biomech_fit.config.fit import FitConfig, GaitConfig, StepsConfig
from biomech_fit.config.setting import group, setting

UP_AXES = ("z", "-z", "y", "-y", "x", "-x")
"""Axes of a calibration's world that may point up."""


@dataclass(frozen=True)
class MarkersConfig:
    """What else is among the markers."""

    ellipsoids: bool = setting(False, "Show how well each keypoint is known: the ellipsoid in which it is with a probability of 95 %.")


@dataclass(frozen=True)
class FitterNodeConfig:
    """fitter_node: keypoints in, joint states out. The settings of the fit are under `fit`."""

    input: str = setting(
        "cameras",
        "What comes in: cameras = <camera>/keypoints of calibrated cameras; keypoints_3d = 3D points on the topic keypoints_3d, without any camera.",
        choices=("cameras", "keypoints_3d"),
        restart=True,
    )
    calibration: str = setting("", "Calibration file of the cameras. Needed to configure the node, unless 3D points come in.", restart=True)
    cameras: tuple[str, ...] = setting((), "Names of the calibration's cameras to use; empty = all.", restart=True)
    keypoint_set: str = setting("halpe_26", "Keypoint set that the detectors send: a name, or the path of a YAML file.", restart=True)
    model: str = setting("", "Body model: a name, or the path of an MJCF file with its YAML beside it; empty = the built-in body.", restart=True)
    subject: str = setting("", "subject.yaml with the person's scales and offsets to start from; empty = a body of average size.", restart=True)
    subject_name: str = setting("", "Name of the subject in the messages; empty = the one of the subject file.", restart=True)
    config: str = setting("", "YAML file with settings of the fit, read when the node starts; parameters under `fit` that are given win over it.", restart=True)
    autostart: bool = setting(False, "Configure and activate the node by itself when it starts.", restart=True)
    world_frame: str = setting("world", "Frame of the world in which everything is published.", restart=True)
    world_up: str = setting(
        "z",
        "Axis of the calibration's world that points up. Everything is published in a world with z up, turned from the calibration's.",
        choices=UP_AXES,
        restart=True,
    )
    frame_prefix: str = setting("", "Prefix of the names of the body's frames, as robot_state_publisher's parameter of this name.", restart=True)
    fit_subject_s: float = setting(5.0, "Seconds of good frames that ~/fit_subject asks of a person.", unit="s", low=0.5, high=300.0)
    save_directory: str = setting("", "Where ~/save_subject and ~/save_calibration write; empty = the working directory.")
    save_overwrites: bool = setting(False, "Saved files may replace those that were there before; otherwise they get a new name (subject_2.yaml).")
    publish_markers: bool = setting(True, "Publish the body, the cameras and the keypoints as markers.")
    marker_rate_hz: float = setting(30.0, "Markers are published at most this often.", unit="Hz", low=0.5, high=1000.0)
    markers: MarkersConfig = group(MarkersConfig, "What else is among the markers.")
    publish_tf: bool = setting(True, "Publish the pelvis and the cameras on /tf (where tf2_msgs is installed).", restart=True)
    max_wait_s: float = setting(
        1.0,
        "Where the machine is too slow, frames that waited longer than this are dropped, some from half of it on, or from 0.15 of it on where that lasts; "
        "a slow replay may set it high.",
        unit="s",
        low=0.05,
        high=3600.0,
        restart=True,
    )
    slow_rate_hz: float = setting(1.0, "How often calibration, subject_model and diagnostics are published.", unit="Hz", low=0.1, high=50.0, restart=True)
    fit: FitConfig = group(FitConfig, "Settings of the fit.")


@dataclass(frozen=True)
class GaitNodeConfig:
    """gait_node: body_state and body_state_smoothed in, gait events of both, steps and their summary out."""

    world_frame: str = setting("world", "Frame of the events' positions when the body states name none.")
    marker_lifetime_s: float = setting(30.0, "Footprints of contacts stay in the display for this long.", unit="s", low=0.1, high=3600.0)
    gait: GaitConfig = group(GaitConfig, "Settings of the detector.")
    steps: StepsConfig = group(StepsConfig, "Means over steps.")


@dataclass(frozen=True)
class SimulatorNodeConfig:
    """simulator_node: a walking subject seen by a ring of cameras, with the settings of the simulator under `sim`."""

    loop: bool = setting(False, "Start the walk again at its end (the person jumps back to the start); otherwise the node ends then.")
    start_delay_s: float = setting(1.0, "Pause before the first frame, so that subscribers are found.", unit="s", low=0.0, high=60.0)
    min_subscribers: int = setting(
        0, "Send the first frame only once every camera's keypoints have this many subscribers, or some have for 5 s; 0 = do not wait.", low=0, high=100
    )
    output: str = setting("", "Folder where the calibration and the truth are written before the start; empty = nowhere.")
    world_frame: str = setting("world", "Frame of the ground truth.")


@dataclass(frozen=True)
class ReplayNodeConfig:
    """replay_node: a recording to topics with its own timing."""

    recording: str = setting("", "The recording: a folder, bag or file as `biomech-fit track` reads it.")
    calibration: str = setting("", "Calibration file; empty = the recording's own.")
    keypoint_set: str = setting("", "Keypoint set; empty = the recording's own, or the one that the 3D points' names fit best.")
    frame_rate_hz: float = setting(0.0, "Frame rate of the recording; 0 = its own.", unit="Hz", low=0.0, high=1000.0)
    points_map: str = setting("", "Of 3D points (.c3d, .trc): name or YAML of a map of their names; empty = by the names themselves.")
    world_up: str = setting("", "Of 3D points: the file's axis that points up; empty = as the file says.", choices=("", *UP_AXES))
    world_frame: str = setting("world", "Of 3D points: their frame.")
    rate: float = setting(1.0, "Speed of the replay relative to the recording.", low=0.01, high=100.0)
    loop: bool = setting(False, "Start again at the end. The stamps jump back then.")
    clock: bool = setting(False, "Publish the recording's time on /clock, for nodes with use_sim_time.")
    now_stamps: bool = setting(False, "Shift the stamps so that the first frame is now, instead of the recording's own.")
    start_delay_s: float = setting(1.0, "Pause before the first frame, so that subscribers are found.", unit="s", low=0.0, high=60.0)
    min_subscribers: int = setting(
        0, "Send the first frame only once every camera's keypoints have this many subscribers, or some have for 5 s; 0 = do not wait.", low=0, high=100
    )


@dataclass(frozen=True)
class OverlayNodeConfig:
    """overlay_node: the reprojected skeleton on a camera's images."""

    camera: str = setting("", "Name of the camera whose images come in.")
    calibration: str = setting("", "Calibration file; the node uses the refined camera of the topic `calibration` as soon as it comes.")
    compressed: bool = setting(False, "Images come as sensor_msgs/CompressedImage (JPEG or PNG).")
    world_up: str = setting("z", "Axis of the calibration's world that points up, as the fitter's.", choices=UP_AXES)
    smoothed: bool = setting(True, "Draw body_state_smoothed rather than body_state; images wait for it.")
    tolerance_s: float = setting(0.012, "An image takes the body state whose stamp is at most this far from its own.", unit="s", low=0.0, high=1.0)
    wait_s: float = setting(1.0, "An image without a body state is passed on undrawn after this time.", unit="s", low=0.0, high=10.0)


@dataclass(frozen=True)
class RecorderNodeConfig:
    """recorder_node: what the fitter publishes, written in the end as `biomech-fit track` writes its results."""

    output: str = setting("", "Folder for the results (needed).")
    calibration: str = setting("", "Calibration file that the fitter loaded (needed).")
    cameras: tuple[str, ...] = setting((), "Names of the calibration's cameras that the fitter uses; empty = all.")
    world_up: str = setting("z", "Axis of the calibration's world that points up, as the fitter's.", choices=UP_AXES)
    keypoint_set: str = setting("halpe_26", "Keypoint set, as the fitter's.")
    model: str = setting("", "Body model, as the fitter's.")
    frame_rate_hz: float = setting(60.0, "Frame rate of the cameras.", unit="Hz", low=1.0, high=1000.0)
    idle_s: float = setting(0.0, "Write and end when no body state has come for this long after the first; 0 = at Ctrl-C.", unit="s", low=0.0, high=3600.0)
    max_minutes: float = setting(30.0, "Write and end after this time (everything is kept in memory).", unit="min", low=0.1, high=600.0)
