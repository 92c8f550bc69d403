"""A made-up but lifelike `TrackResult` for the tests of reports and outputs: a stick figure that walks across four cameras."""

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.core.gait import GaitDetector
from biomech_fit.core.types import Status
from biomech_fit.formats.keypoint_sets import load_keypoint_set
from biomech_fit.report.result import TrackResult, Trajectory

ANGLES = (
    "pelvis_tilt", "pelvis_list", "pelvis_rotation", "hip_flexion_r", "hip_adduction_r", "hip_rotation_r", "knee_angle_r", "ankle_angle_r",
    "hip_flexion_l", "hip_adduction_l", "hip_rotation_l", "knee_angle_l", "ankle_angle_l", "lumbar_extension", "lumbar_bending", "lumbar_rotation",
    "arm_flex_r", "elbow_flex_r", "arm_flex_l", "elbow_flex_l",
)  # fmt: skip
COORDINATES = ("pelvis_tx", "pelvis_ty", "pelvis_tz", *ANGLES)
SEGMENTS = {
    "thigh_r": ("RHip", "RKnee"), "shank_r": ("RKnee", "RAnkle"), "foot_r": ("RHeel", "RBigToe"), "thigh_l": ("LHip", "LKnee"), "shank_l": ("LKnee", "LAnkle"),
    "foot_l": ("LHeel", "LBigToe"), "upper_arm_r": ("RShoulder", "RElbow"), "upper_arm_l": ("LShoulder", "LElbow"), "forearm_r": ("RElbow", "RWrist"),
    "forearm_l": ("LElbow", "LWrist"), "pelvis_width": ("RHip", "LHip"), "shoulder_width": ("RShoulder", "LShoulder"),
}  # fmt: skip


def walker(t, names):
    """(T, K, 3) points of a walking stick figure and (T, N) coordinates like a person's."""
    speed, stride = 1.15, 1.1
    points = np.full((len(t), len(names), 3), np.nan)
    where = {n: i for i, n in enumerate(names)}
    x = speed * t - 2.5
    phase = 2 * np.pi * t / stride
    values = dict.fromkeys(COORDINATES, np.zeros(len(t)))

    def put(name, *xyz):
        if name in where:
            points[:, where[name]] = np.stack(np.broadcast_arrays(*xyz), -1)

    z_hip = 0.93 + 0.02 * np.cos(2 * phase)
    for side, letter, sign, shift in (("L", "l", 1, 0.0), ("R", "r", -1, np.pi)):
        p = (phase + shift) % (2 * np.pi) / (2 * np.pi)
        hip = 0.42 * np.cos(2 * np.pi * p) + 0.08
        knee = 0.1 + 0.28 * np.exp(-(((p - 0.14) / 0.08) ** 2)) + 1.0 * np.exp(-(((p - 0.73) / 0.1) ** 2))
        ankle = 0.15 * np.sin(2 * np.pi * p) - 0.35 * np.exp(-(((p - 0.63) / 0.06) ** 2))
        values |= {f"hip_flexion_{letter}": hip, f"knee_angle_{letter}": knee, f"ankle_angle_{letter}": ankle}
        values |= {f"hip_adduction_{letter}": 0.1 * np.sin(2 * np.pi * p), f"arm_flex_{letter}": -0.4 * np.cos(2 * np.pi * p)}
        values |= {f"elbow_flex_{letter}": 0.5 - 0.1 * np.cos(2 * np.pi * p), f"hip_rotation_{letter}": 0.06 * np.cos(2 * np.pi * p + 1)}
        y = 0.09 * sign
        put(f"{side}Hip", x, y, z_hip)
        kx, kz = x + 0.43 * np.sin(hip), z_hip - 0.43 * np.cos(hip)
        put(f"{side}Knee", kx, y, kz)
        ax, az = kx + 0.42 * np.sin(hip - knee), kz - 0.42 * np.cos(hip - knee)
        put(f"{side}Ankle", ax, y, az)
        foot = hip - knee + ankle
        put(f"{side}Heel", ax - 0.05 * np.cos(foot) + 0.07 * np.sin(foot), y, az - 0.07 * np.cos(foot) - 0.05 * np.sin(foot))
        for toe, dy in (("BigToe", -0.02), ("SmallToe", 0.05)):
            put(f"{side}{toe}", ax + 0.17 * np.cos(foot) + 0.07 * np.sin(foot), y + dy * sign, az - 0.07 * np.cos(foot) + 0.17 * np.sin(foot))
        arm = -0.4 * np.cos(2 * np.pi * p)
        put(f"{side}Shoulder", x, 0.18 * sign, 1.42)
        ex, ez = x + 0.29 * np.sin(arm), 1.42 - 0.29 * np.cos(arm)
        put(f"{side}Elbow", ex, 0.22 * sign, ez)
        put(f"{side}Wrist", ex + 0.25 * np.sin(arm + 0.5), 0.22 * sign, ez - 0.25 * np.cos(arm + 0.5))
        put(f"{side}Eye", x + 0.09, 0.03 * sign, 1.62)
        put(f"{side}Ear", x, 0.07 * sign, 1.6)
    put("Nose", x + 0.11, 0, 1.58)
    put("Head", x, 0, 1.74)
    put("Neck", x, 0, 1.46)
    put("MidHip", x, 0, z_hip)
    values |= {"pelvis_tx": x, "pelvis_ty": z_hip, "pelvis_tilt": 0.05 + 0.02 * np.cos(2 * phase), "pelvis_list": 0.06 * np.sin(phase)}
    values |= {"pelvis_rotation": 0.08 * np.cos(phase), "lumbar_bending": -0.07 * np.sin(phase), "lumbar_rotation": -0.1 * np.cos(phase)}
    return points, np.stack([values[n] for n in COORDINATES], 1)


def look_at(name, centre, target, focal=900.0, size=(1280, 720)):
    """A camera at `centre` that looks at `target`, upright."""
    forward = np.subtract(target, centre) / np.linalg.norm(np.subtract(target, centre))
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1.0]])
    return Camera(name, *size, matrix, "none", np.zeros(0), rotation, -rotation @ np.asarray(centre, float))


def turned(camera, angle_deg, shift, axis=(0.3, 0.9, 0.3)):
    """The camera turned about its centre and then moved."""
    axis = np.asarray(axis) / np.linalg.norm(axis) * np.radians(angle_deg)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    u, _, vt = np.linalg.svd(np.eye(3) + cross + cross @ cross / 2)
    rotation = u @ vt @ camera.rotation
    centre = -camera.rotation.T @ camera.translation + shift
    return Camera(camera.name, camera.width, camera.height, camera.matrix, "none", camera.distortion, rotation, -rotation @ centre)


def project(camera, points):
    x = points @ camera.rotation.T + camera.translation
    return x[..., :2] / x[..., 2:] * [camera.matrix[0, 0], camera.matrix[1, 1]] + camera.matrix[:2, 2]


def example(seconds=5.0, rate=60.0, cameras=4, keypoint_set="halpe_26", seed=0):
    """The result, and the true points and coordinates: (TrackResult, (T, K, 3), (T, N))."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    kset = load_keypoint_set(keypoint_set)
    points, values = walker(t, kset.names)
    centre_names = (*dict.fromkeys(n for pair in SEGMENTS.values() for n in pair), "Neck", "Head")
    centres, _ = walker(t, centre_names)
    angles = np.linspace(0, 2 * np.pi, cameras, endpoint=False) + 0.5
    true = [look_at(f"cam_{i + 1:02d}", (4.5 * np.cos(a), 4.5 * np.sin(a), 1.6), (0, 0, 0.95)) for i, a in enumerate(angles)]
    loaded = [turned(c, 0.8, rng.normal(0, 0.02, 3), rng.normal(size=3)) for c in true]
    refined = [turned(c, 0.06, rng.normal(0, 0.003, 3), rng.normal(size=3)) for c in true]

    def smooth_noise(shape, scale, width):
        noise = rng.standard_normal((len(t) + 2 * width, *shape[1:]))
        kernel = np.hanning(width) / np.sqrt((np.hanning(width) ** 2).sum())
        return scale * np.apply_along_axis(lambda x: np.convolve(x, kernel, "same"), 0, noise)[width:-width].reshape(shape)

    def trajectory(scale, start):
        scale_n = scale * np.where(np.isin(COORDINATES, ANGLES), 5.0, 1.0)
        position = values + smooth_noise(values.shape, 1.0, 12) * scale_n
        keypoints = points + smooth_noise(points.shape, scale, 8)
        joint = centres + smooth_noise(centres.shape, 0.7 * scale, 8)
        status = np.full(len(t), Status.OK)
        status[:start] = Status.INITIALISING
        status[150:156] = Status.PREDICTED
        for array in (position, keypoints, joint):
            array[:start] = np.nan
        body = Trajectory(
            position=position, velocity=np.gradient(position, 1 / rate, axis=0), position_std=np.broadcast_to(scale_n, values.shape) * np.ones((len(t), 1)),
            keypoints=keypoints, keypoint_std=np.full(points.shape, scale), joint_centres=joint, status=status,
        )  # fmt: skip
        gait = GaitDetector(kset.names, centre_names)
        heel, toe = ([centre_names.index(s + n) for s in "LR"] for n in ("Heel", "BigToe"))
        for i, stamp in enumerate(stamps):
            body.events += gait.update_points(int(stamp), joint[i, heel], joint[i, toe])
        body.steps = gait.steps()
        return body

    stamps = np.round(t * 1e9).astype(np.int64) + 5_000_000_000
    smoothed, causal = trajectory(0.004, 4), trajectory(0.007, 9)
    observed = np.stack([project(c, points) for c in true], 1) + 4 * rng.standard_normal((len(t), cameras, len(kset), 2))
    confidence = rng.beta(6, 2, (len(t), cameras, len(kset)))
    missing = rng.random(confidence.shape) < 0.05
    observed[missing], confidence[missing] = np.nan, 0
    result = TrackResult(
        stamps_ns=stamps, frame_rate_hz=rate, coordinate_names=COORDINATES, coordinate_is_angle=np.isin(COORDINATES, ANGLES), keypoint_set=kset,
        joint_centre_names=centre_names, causal=causal, smoothed=smoothed, cameras_loaded=loaded, cameras_refined=refined, observed_xy=observed,
        observed_confidence=confidence, reprojected_before_xy=np.stack([project(c, smoothed.keypoints) for c in loaded], 1),
        reprojected_xy=np.stack([project(c, smoothed.keypoints) for c in refined], 1), latency_s=rng.gamma(8, 0.0008, len(t)), wall_s=2.1,
        segment_lengths_m={"thigh_r": 0.43, "thigh_l": 0.431, "shank_r": 0.42, "shank_l": 0.418, "foot_r": 0.22, "foot_l": 0.22}, segments=SEGMENTS,
        clock_offset_s=np.zeros(cameras), source="example", subject="stick figure", version="0.0.0", notices=["This is a made-up run."],
    )  # fmt: skip
    return result, points, values, true
