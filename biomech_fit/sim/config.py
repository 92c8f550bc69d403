"""All knobs of the simulator, declared once; the command line's options and docs/simulator.md come from these declarations."""

from __future__ import annotations

from dataclasses import dataclass

from biomech_fit.config.setting import setting
from biomech_fit.sim.path import PATHS

LAYOUTS = ("ring", "arc")


@dataclass(frozen=True)
class SimConfig:
    """A simulated recording. `biomech_fit.config.load.from_mapping` and `validate` check values; `setting` metadata carries doc, unit, low, high, choices."""

    seconds: float = setting(10.0, "Length of the recording.", unit="s", low=0.2, high=600.0)
    seed: int = setting(0, "Seed of all random numbers; the same settings and seed give the same recording.", low=0, high=2**31 - 1)
    frame_rate_hz: float = setting(60.0, "Frames per second of each camera.", unit="Hz", low=5.0, high=500.0)
    keypoint_set: str = setting("halpe_26", "Keypoint set of the simulated detector: a name or a YAML file.")

    people: int = setting(1, "Number of people who walk about; their ways cross, and the order in which a camera names them is random.", low=1, high=8)

    # The walk.
    path: str = setting(
        "shuttle",
        "Where the person walks; shuttle = back and forth with a turn at each end, straight = one line (about 3 s of it are in view), stand = on the spot.",
        choices=PATHS,
    )
    path_length_m: float = setting(3.6, "Length of the path's bounding box along x.", unit="m", low=1.0, high=50.0)
    path_width_m: float = setting(
        2.4, "Width of the path's bounding box along y (circle, eight; the shuttle's lanes are at most 0.9 m apart).", unit="m", low=0.6, high=50.0
    )
    speed_m_s: float = setting(1.2, "Walking speed on straight parts; slower in turns.", unit="m/s", low=0.3, high=2.0)
    cadence_steps_min: float = setting(110.0, "Steps per minute at that speed.", unit="1/min", low=50.0, high=150.0)
    cadence_variability: float = setting(0.02, "Coefficient of variation of the cadence from stride to stride.", low=0.0, high=0.1)
    step_width_m: float = setting(0.10, "Distance between the lines of the left and right heels.", unit="m", low=0.0, high=0.4)
    toe_out_deg: float = setting(7.0, "Foot progression angle.", unit="deg", low=-20.0, high=40.0)
    arm_swing: float = setting(1.0, "Multiplies arm swing and the trunk's counter-rotation.", low=0.0, high=2.5)
    asymmetry: float = setting(0.0, "Left excursions are larger and right ones smaller by half of this share; the left contact comes late.", low=-0.4, high=0.4)
    variability: float = setting(0.03, "Slow changes of every joint angle, as a share of 30 degrees (standard deviation).", low=0.0, high=0.15)
    standing: float = setting(
        0.0, "The person stands still for this long before the walk begins; with all of `seconds` it is a static trial.", unit="s", low=0.0, high=600.0
    )
    stop_at_s: float = setting(4.0, "When the person begins to stop (with stop_for_s above 0).", unit="s", low=0.0, high=600.0)
    stop_for_s: float = setting(0.0, "How long the person stands still; 0 = never stops.", unit="s", low=0.0, high=600.0)

    # The body.
    size_spread: float = setting(0.08, "Overall size differs from the nominal body by at most this share.", low=0.0, high=0.25)
    segment_spread: float = setting(0.05, "Each segment group's size differs by at most this share more.", low=0.0, high=0.2)
    side_spread: float = setting(0.01, "Standard deviation of the difference between left and right.", low=0.0, high=0.1)
    joint_offset_mm: float = setting(
        3.0, "Standard deviation per axis of small displacements of the joints, which no scale can represent.", unit="mm", low=0.0, high=30.0
    )
    keypoint_offset_mm: float = setting(
        10.0, "RMS length of the constant vector from each keypoint to the point that the detector aims at on this person.", unit="mm", low=0.0, high=100.0
    )
    detector_bias_mm: float = setting(
        0.0, "RMS length of a further such vector, which is the same for all people that this detector sees.", unit="mm", low=0.0, high=100.0
    )
    detector_seed: int = setting(0, "Chooses the detector whose bias, and whose keypoints' noise (sigma_spread), that is.", low=0, high=2**31 - 1)

    # The cameras.
    cameras: int = setting(8, "Number of cameras.", low=1, high=64)
    layout: str = setting("ring", "ring = all round the volume, arc = on one side only (120 degrees).", choices=LAYOUTS)
    radius_m: float = setting(
        4.25, "Mean distance of the cameras from the middle of the volume; single ones differ by up to 0.25 m.", unit="m", low=1.5, high=50.0
    )
    image_width_px: int = setting(1280, "Image width.", unit="px", low=160, high=8192)
    image_height_px: int = setting(1024, "Image height.", unit="px", low=120, high=8192)
    focal_px: float = setting(1050.0, "Mean focal length; single cameras differ by up to 50 px at this value.", unit="px", low=100.0, high=10000.0)
    calibration_rotation_deg: float = setting(
        0.0, "Error of the calibration that is handed out: rotation of each camera about a random axis.", unit="deg", low=0.0, high=10.0
    )
    calibration_translation_mm: float = setting(
        0.0, "Error of the calibration: displacement of each camera's centre in a random direction.", unit="mm", low=0.0, high=1000.0
    )

    # The detector.
    sigma_px: float = setting(4.0, "Standard deviation of a keypoint's error along each pixel axis.", unit="px", low=0.0, high=100.0)
    sigma_spread: float = setting(
        0.0, "How much the detector's keypoints differ in sigma_px: standard deviation of its natural logarithm, left and right alike.", low=0.0, high=2.0
    )
    outlier_fraction: float = setting(0.05, "Share of the points whose error is outlier_factor times as large.", low=0.0, high=1.0)
    outlier_factor: float = setting(4.0, "How much larger the error of these points is.", low=1.0, high=100.0)
    noise_correlation: float = setting(0.0, "Correlation of the error from one frame to the next at 60 Hz (first-order autoregressive).", low=0.0, high=0.999)
    missing_fraction: float = setting(0.03, "Share of the points that the detector does not give.", low=0.0, high=1.0)
    occlusion_factor: float = setting(
        1.0, "How much larger the error of a point is that trunk or thighs hide from the camera; 1 = occlusion does nothing.", low=1.0, high=100.0
    )
    confidence_slope: float = setting(
        1.8, "How much the confidence (logit) falls per natural logarithm of a point's error scale; 0 = it says nothing.", low=0.0, high=10.0
    )
    confidence_noise: float = setting(
        0.5, "Scatter of the confidence round its monotone relation with the point's true error scale (logits).", low=0.0, high=5.0
    )
    swaps_per_s: float = setting(0.0, "How often a camera's detector begins to confuse left and right.", unit="1/s", low=0.0, high=30.0)
    swap_length_s: float = setting(0.1, "Mean duration of such a confusion.", unit="s", low=0.01, high=10.0)
    strangers: int = setting(0, "Number of cameras that see a second person behind the volume; the order of people is random in each frame.", low=0, high=64)
    packet_loss: float = setting(0.0, "Share of the packets that never arrive.", low=0.0, high=1.0)
    clock_offset_ms: float = setting(
        0.0, "Standard deviation of the cameras' clock offsets: a camera exposes at stamp + offset.", unit="ms", low=0.0, high=200.0
    )
    stamp_jitter_ms: float = setting(0.0, "Standard deviation of the error of each stamp.", unit="ms", low=0.0, high=50.0)

    # Faults. Cameras are numbered from 0.
    silent_camera: int = setting(-1, "Number of the camera (from 0) that falls silent; -1 = none.", low=-1, high=63)
    silent_from_s: float = setting(5.0, "When it falls silent.", unit="s", low=0.0, high=600.0)
    silent_until_s: float = setting(600.0, "When it sends again.", unit="s", low=0.0, high=600.0)
    lagging_camera: int = setting(-1, "Number of the camera whose pictures are older than their stamps; -1 = none.", low=-1, high=63)
    lag_ms: float = setting(25.0, "By how much they are older; negative = younger.", unit="ms", low=-100.0, high=100.0)
    lag_from_s: float = setting(0.0, "From when on.", unit="s", low=0.0, high=600.0)
    clock_step_ms: float = setting(
        0.0,
        "The clock behind the stamps is set forward by this (negative: back) while the exposures stay where they are; 0 = never.",
        unit="ms",
        low=-1e4,
        high=1e4,
    )
    clock_step_camera: int = setting(-1, "Number of the camera whose clock is set; -1 = the clock of all.", low=-1, high=63)
    clock_step_at_s: float = setting(5.0, "When the clock is set.", unit="s", low=0.0, high=600.0)
    swap_camera: int = setting(-1, "Number of the camera that for a while confuses left and right in seven of ten frames; -1 = none.", low=-1, high=63)
    swap_from_s: float = setting(5.0, "When it begins to.", unit="s", low=0.0, high=600.0)
    swap_for_s: float = setting(1.0, "How long this lasts.", unit="s", low=0.0, high=600.0)
    moved_camera: int = setting(-1, "Number of the camera whose tripod is moved; -1 = none.", low=-1, high=63)
    moved_at_s: float = setting(5.0, "When it is moved.", unit="s", low=0.0, high=600.0)
    moved_rotation_deg: float = setting(2.0, "By how much it turns, about a random axis.", unit="deg", low=0.0, high=45.0)
    moved_translation_mm: float = setting(100.0, "By how much its centre moves, in a random direction.", unit="mm", low=0.0, high=2000.0)
    away_at_s: float = setting(
        5.0, "When the person leaves (with away_for_s above 0): no camera sees anybody, packets without people keep coming.", unit="s", low=0.0, high=600.0
    )
    away_for_s: float = setting(0.0, "How long the person is away; 0 = never leaves.", unit="s", low=0.0, high=600.0)
    duplicate_fraction: float = setting(0.0, "Share of the packets that arrive twice, the second time half a frame later.", low=0.0, high=1.0)
    late_fraction: float = setting(0.0, "Share of the packets that arrive late.", low=0.0, high=1.0)
    late_ms: float = setting(60.0, "By how much these are late.", unit="ms", low=0.0, high=5000.0)
    reordered_fraction: float = setting(0.0, "Share of the packets that arrive after the camera's next one.", low=0.0, high=1.0)
    faults_per_minute: float = setting(
        0.0,
        "Random faults of all these kinds but the moved tripod, one after another with at least 2 s between them: about so many in a minute.",
        unit="1/min",
        low=0.0,
        high=11.0,
    )
