"""All settings of the streaming fit. Each is declared here once; YAML, ROS parameters and docs/parameters.md come from these declarations."""

# ruff: noqa: RUF009 (`group` only declares a field)

from __future__ import annotations

from dataclasses import dataclass

from biomech_fit.config.setting import group, setting


@dataclass(frozen=True)
class StreamConfig:
    """How single camera frames become frame sets."""

    sync: str = setting(
        "deadline",
        "How camera frames are joined: deadline = our assembler, never waits for a dead camera; approximate or exact = message_filters (ROS only).",
        choices=("deadline", "approximate", "exact"),
        restart=True,
    )
    deadline_s: float = setting(0.040, "A frame set is closed at the latest this long after its first packet arrived.", unit="s", low=0.001, high=2.0)
    frame_rate_hz: float = setting(
        60.0,
        "Frame rate of the fastest camera. Of frames that come faster some are left out, which is told; `biomech-fit` takes a recording's own rate.",
        unit="Hz",
        low=1.0,
        high=1000.0,
    )
    camera_timeout_s: float = setting(0.5, "A camera that has sent nothing for this long is no longer waited for.", unit="s", low=0.02, high=60.0)
    max_people: int = setting(1, "Number of people tracked at once.", low=1, high=4)


@dataclass(frozen=True)
class WindowConfig:
    """The sliding window of the fixed-lag smoother."""

    frames: int = setting(8, "Least number of frames in the window; it is always a little longer than lag_s.", unit="frames", low=8, high=256)
    lag_s: float = setting(0.25, "How far the smoothed output is behind the newest frame.", unit="s", low=0.0, high=5.0)
    iterations: int = setting(1, "Gauss-Newton iterations per new frame in steady state (warm start).", low=1, high=10)
    start_iterations: int = setting(20, "The most Gauss-Newton iterations when a track starts or is started anew.", low=1, high=200)
    damping: float = setting(1e-4, "Levenberg-Marquardt damping, relative to the diagonal of the normal equations.", low=0.0, high=1.0)


@dataclass(frozen=True)
class NoiseConfig:
    """The detector's errors."""

    pixel_sigma_px: float = setting(4.0, "Standard deviation of a keypoint with confidence 1 along each pixel axis.", unit="px", low=0.1, high=100.0)
    robust_kernel: str = setting("geman_mcclure", "Robust kernel of the reprojection residuals.", choices=("none", "huber", "cauchy", "geman_mcclure"))
    robust_scale: float = setting(4.0, "Scale of the robust kernel, in standard deviations of a keypoint.", low=0.5, high=100.0)
    confidence_power: float = setting(1.0, "A keypoint's information is multiplied by its confidence to this power.", low=0.0, high=4.0)
    min_confidence: float = setting(0.1, "Keypoints with less confidence are not used.", low=0.0, high=1.0)
    learn: bool = setting(
        True, "Learn the size of the errors per camera, keypoint and confidence, and how long they last, from the residuals; the other values are the start."
    )
    correlation_time_s: float = setting(
        0.005,
        "Time over which a keypoint's error is correlated; the information of single frames is reduced accordingly (0 = white noise).",
        unit="s",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class PointsConfig:
    """3D points as observations: marker systems, triangulations, depth cameras, monocular estimators."""

    residual: str = setting(
        "position",
        "What is compared: position = the points; direction = the directions of the bones between them, which need no scale and no place.",
        choices=("position", "direction"),
    )
    sigma_m: float = setting(0.01, "Standard deviation, per axis, of a point that comes without one.", unit="m", low=0.0001, high=1.0)
    drift_sigma_m: float = setting(
        0.0,
        "Standard deviation, per axis, of an error that all points of a frame share, as the root of a monocular estimator drifts; 0 = none.",
        unit="m",
        low=0.0,
        high=100.0,
    )
    robust_kernel: str = setting(
        "cauchy",
        "Robust kernel of the points. One that is bounded (geman_mcclure) may leave a limb for good, since nothing else sees it.",
        choices=("none", "huber", "cauchy", "geman_mcclure"),
    )
    pose_memory_s: float = setting(
        1.0,
        "A joint angle that no point shows lingers for about so long: what is not seen stays as unsure as the pose prior, and is remembered for a while.",
        unit="s",
        low=0.1,
        high=100.0,
    )
    lost_m: float = setting(0.4, "A frame whose points are further than this from the body (median) counts as lost.", unit="m", low=0.01, high=10.0)


@dataclass(frozen=True)
class MotionConfig:
    """The motion prior: third and second differences of the coordinates, in units of the body model's own scales."""

    jerk_scale: float = setting(
        1.0, "Multiplies the body model's jerk standard deviations; larger follows faster motion, smaller is smoother.", low=0.01, high=100.0
    )
    acceleration_scale: float = setting(1.0, "Multiplies the body model's acceleration standard deviations.", low=0.01, high=100.0)


@dataclass(frozen=True)
class PriorConfig:
    """What is known about a body before it is seen. The body model brings standard deviations per group; these multiply or replace them."""

    scale_std_factor: float = setting(1.0, "Multiplies the body model's prior standard deviations of the segment scales.", low=0.01, high=10.0)
    keypoint_offset_std_m: float = setting(
        0.015,
        "Prior standard deviation, per axis, of where a detector aims relative to the model's keypoint, where the model says nothing of that keypoint; where "
        "it does, that value changes in the same proportion.",
        unit="m",
        low=0.0005,
        high=0.2,
    )
    pose_std_factor: float = setting(1.0, "Multiplies the standard deviations of the weak pose prior.", low=0.05, high=100.0)
    joint_limit_std_rad: float = setting(
        0.05, "Softness of the ranges of motion: a joint this far beyond its range costs as much as one standard deviation.", unit="rad", low=0.001, high=1.0
    )


@dataclass(frozen=True)
class RefineConfig:
    """The slow states: what is estimated besides the pose, how far it may be from the loaded values, and how fast it may change."""

    cameras: bool = setting(True, "Estimate corrections of the cameras' positions and orientations.")
    scales: bool = setting(True, "Estimate the scales of the body's segments.")
    offsets: bool = setting(True, "Estimate the offsets of the keypoints.")
    clock: bool = setting(True, "Estimate a clock offset for each camera.")
    camera_rotation_std_deg: float = setting(0.4, "Prior standard deviation, per axis, of a camera's rotation error.", unit="deg", low=0.001, high=20.0)
    camera_translation_std_m: float = setting(0.015, "Prior standard deviation, per axis, of a camera's position error.", unit="m", low=0.0001, high=1.0)
    intrinsics: str = setting(
        "none",
        "Estimate the cameras' lenses, too, where cameras are corrected: focal = one factor on the focal lengths; focal_distortion = the first two radial "
        "terms as well. `biomech-fit fit` keeps that only where it predicts better; live there is no such test.",
        choices=("none", "focal", "focal_distortion"),
    )
    focal_std: float = setting(0.01, "Prior standard deviation of the focal lengths' relative error.", low=1e-5, high=0.5)
    distortion_std: float = setting(0.02, "Prior standard deviation of the errors of k1 and k2.", low=1e-5, high=1.0)
    clock_std_s: float = setting(
        0.002,
        "Prior width of a camera's clock offset; the prior is heavy-tailed (Cauchy), so that most cameras are on time and one may be far off.",
        unit="s",
        low=0.0001,
        high=0.5,
    )
    memory_s: float = setting(
        120.0, "What frames that left the window said of body and cameras is forgotten with this time constant.", unit="s", low=1.0, high=1e6
    )


@dataclass(frozen=True)
class ContactConfig:
    """Feet on the floor: a sole point that hardly moves is taken to rest, and one near the floor to lie on it."""

    use: bool = setting(True, "Use contact of the feet with the floor; the floor's height and slope are estimated.")
    speed_std_m_s: float = setting(0.06, "Standard deviation of a resting sole point's speed.", unit="m/s", low=0.001, high=1.0)
    speed_limit_m_s: float = setting(0.12, "A sole point faster than about this does not rest.", unit="m/s", low=0.005, high=3.0)
    height_std_m: float = setting(0.01, "Standard deviation of a resting sole point's height over the floor.", unit="m", low=0.0005, high=0.2)
    height_limit_m: float = setting(0.04, "A sole point further than about this from the floor does not lie on it.", unit="m", low=0.002, high=0.5)


@dataclass(frozen=True)
class TrackConfig:
    """When a track starts, is lost, and is started anew."""

    min_start_keypoints: int = setting(8, "Keypoints that must be triangulated before a track starts.", low=4, high=100)
    min_keypoints: int = setting(4, "A frame with fewer usable keypoints of the person (over all cameras) counts as not seen.", low=1, high=100)
    association_px: float = setting(
        80.0, "A detected person further than this from the predicted body (median over keypoints) is somebody else.", unit="px", low=5.0, high=2000.0
    )
    lost_px: float = setting(
        60.0, "A frame whose reprojection error (median over what is seen) is above this counts as lost.", unit="px", low=5.0, high=2000.0
    )
    reinit_after_frames: int = setting(10, "The fit is started anew after this many lost frames in a row.", unit="frames", low=1, high=1000)
    predict_s: float = setting(
        0.5, "Without usable keypoints the pose is predicted for this long before the person counts as gone.", unit="s", low=0.0, high=10.0
    )
    new_person_s: float = setting(
        0.3, "With several people: somebody whom nobody tracks yet must be seen for this long to be believed.", unit="s", low=0.0, high=10.0
    )
    forget_s: float = setting(30.0, "With several people: the number and the body of a person who left are kept for this long.", unit="s", low=0.0, high=3600.0)


@dataclass(frozen=True)
class GaitConfig:
    """The gait detector: names and defaults are those of `core.gait.GaitSettings`."""

    smoothing_s: float = setting(0.10, "Length of the polynomials from which the feet's speeds are read; half of it is delay.", unit="s", low=0.02, high=0.5)
    look_ahead_s: float = setting(0.045, "A foot's phase is decided with this much of what follows; delay, too.", unit="s", low=0.0, high=0.5)
    height_gate_m: float = setting(0.05, "Heel or toe higher than this over the floor speak against support.", unit="m", low=0.005, high=0.5)
    min_off_m: float = setting(0.02, "A toe that has not gone this far has not left.", unit="m", low=0.0, high=0.5)
    min_swing_length_m: float = setting(0.07, "A foot that went less far, and not up, has made no step.", unit="m", low=0.0, high=1.0)
    min_swing_speed_m_s: float = setting(0.35, "A foot that never gets this fast has made no step.", unit="m/s", low=0.05, high=5.0)
    min_swing_s: float = setting(0.10, "Shortest swing.", unit="s", low=0.02, high=1.0)
    min_stance_s: float = setting(0.10, "Shortest stance.", unit="s", low=0.02, high=2.0)
    max_gap_s: float = setting(0.25, "After a longer gap in the poses a foot's phase is unknown.", unit="s", low=0.02, high=5.0)
    moving_floor: bool = setting(True, "Find out whether the person walks on a treadmill.")


@dataclass(frozen=True)
class StepsConfig:
    """Means over steps: names and defaults are those of `core.gait_summary.SummarySettings`."""

    skip_steps: int = setting(0, "Steps left out of the means at the beginning of each walk; instrumented walkways leave out two.", low=0, high=20)
    strides: int = setting(20, "The running means (gait_summary) are over this many last strides of each foot.", low=2, high=1000)
    turn_deg: float = setting(20.0, "A step whose foot turns by more than this in its stride does not count in the means.", unit="deg", low=1.0, high=360.0)


@dataclass(frozen=True)
class OfflineConfig:
    """The offline fit of whole recordings (`biomech-fit fit`)."""

    trajectory: str = setting(
        "spline",
        "What carries the motion: spline = cubic B-spline with a knot every 1/30 s, whatever the frame rate; explicit = a knot at every frame; network = a "
        "neural network from time to pose, trained by gradient steps.",
        choices=("spline", "explicit", "network"),
    )
    network: str = setting(
        "auto",
        "Hidden layers of the network: auto = 4x64 for trials up to 5 s, else 3x128; paper = 128 to 4096 in seven layers, 15 million weights, for a GPU.",
        choices=("auto", "4x64", "3x128", "paper"),
    )
    network_steps: int = setting(3000, "Steps in which the network is trained; each renewed solution takes two fifths of it.", low=1, high=1000000)
    iterations: int = setting(20, "The most Gauss-Newton iterations of one solution.", low=1, high=1000)
    two_stage: bool = setting(
        True, "Fit in two stages, too (robust triangulation, then inverse kinematics), and compare both in the report; without a report it is left out."
    )
    tolerance_rad: float = setting(2e-3, "A solution is reached when no joint moves by more than this in a step.", unit="rad", low=1e-8, high=0.1)


@dataclass(frozen=True)
class FitConfig:
    """All settings of the fit."""

    device: str = setting("auto", "Where the solver runs: auto takes a GPU if JAX has one.", choices=("auto", "cpu", "gpu"))
    stream: StreamConfig = group(StreamConfig, "How single camera frames become frame sets.")
    window: WindowConfig = group(WindowConfig, "The sliding window of the fixed-lag smoother.")
    noise: NoiseConfig = group(NoiseConfig, "The detector's errors.")
    points: PointsConfig = group(PointsConfig, "3D points as observations.")
    motion: MotionConfig = group(MotionConfig, "The motion prior.")
    priors: PriorConfig = group(PriorConfig, "What is known about a body before it is seen.")
    refine: RefineConfig = group(RefineConfig, "What is estimated besides the pose.")
    contact: ContactConfig = group(ContactConfig, "Feet on the floor.")
    track: TrackConfig = group(TrackConfig, "When a track starts, is lost, and is started anew.")
    gait: GaitConfig = group(GaitConfig, "Gait events from the smoothed body.")
    steps: StepsConfig = group(StepsConfig, "Means over steps.")
    fit: OfflineConfig = group(OfflineConfig, "The offline fit of whole recordings.")
