"""Joint centres from bony landmarks by published regressions and mid-points; where several exist, their spread is the uncertainty.

Landmarks are bone positions (soft tissue subtracted), m. Regressions were made on lying or standing adults; they move rigidly with their segment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from biomech_fit.formats.landmark_table import JOINT_PAIRS

REED_HIP = {"female": (-0.197, 0.372, -0.270), "male": (-0.208, 0.361, -0.278)}
"""x, |y|, z over inter-ASIS width (Reed et al. 1999; Dumas et al. 2007)."""
REED_L5S1 = {"female": (-0.289, 0.0, 0.172), "male": (-0.264, 0.0, 0.126)}
REED_C7T1 = {"female": (0.53, 14.0), "male": (0.55, 8.0)}
"""Share of the distance C7 to suprasternale, and degrees above that line."""
REED_SHOULDER = (0.42, -67.0)
"""Male; the female pair that circulates (0.53, -5 degrees) puts the centre level with the acromion's skin, and its own sources leave it out. Taken for all."""
HIP_ERROR_M = {"harrington_2007": 0.0041, "hara_2016": 0.0045, "bell_1990": 0.012, "reed_1999": 0.012}
"""RMS per axis on people that the regression was not made from: Harrington 5.2, 3.6, 3.2 mm (MRI, 32 people, leaving one out), Hara 5.2, 4.4, 3.8 mm (CT, 157),
Bell 19 mm in space on average (Bell 1990, 7 men; 33 mm with 95 % in Bell 1989). Reed published none; it takes the width alone, as Bell does. All were made
from bones in images or on skeletons, so all take bone positions."""
METHOD_STD_M = {"hip": 0.005, "knee": 0.005, "ankle": 0.005, "elbow": 0.005, "wrist": 0.005, "shoulder": 0.015, "C7T1": 0.010, "L5S1": 0.012}
"""Per axis, of a method by itself: hip as Harrington 2007 and Hara 2016 found by leaving one out, the others estimates."""


@dataclass(frozen=True, eq=False)
class JointCentre:
    """A joint centre as the landmarks give it."""

    position: np.ndarray
    """(3,) m: the mean of the methods, weighted by their published errors where there are several."""
    std_m: float
    """Per axis, of that mean: from the spread of the methods, and the error that one has by itself."""
    spread_m: float = 0.0
    """Per axis: standard deviation of the methods, where there are several."""
    methods: dict[str, np.ndarray] = field(default_factory=dict)
    """(3,) m by method, where there are several."""


def joint_centres(bone: dict[str, np.ndarray], sex: str | None = None) -> dict[str, JointCentre]:
    """All that the landmarks allow: hip, knee, ankle, shoulder, elbow, wrist of each side (hip_r ...), L5S1, C7T1."""
    out: dict[str, JointCentre] = {}
    for joint, (a, b) in JOINT_PAIRS.items():
        for s in "rl":
            if f"{a}_{s}" in bone and f"{b}_{s}" in bone:
                out[f"{joint}_{s}"] = JointCentre((bone[f"{a}_{s}"] + bone[f"{b}_{s}"]) / 2, METHOD_STD_M[joint])
    out |= _pelvis(bone, out, sex)
    out |= _thorax(bone, out, sex)
    return out


def pelvic_frame(bone: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Origin (3,) midway between the ASIS and rows (3, 3) x forward in the plane of ASIS and PSIS, y up, z right (ISB, as the hip regressions use it)."""
    origin = (bone["ASIS_r"] + bone["ASIS_l"]) / 2
    right = bone["ASIS_r"] - bone["ASIS_l"]
    right /= np.linalg.norm(right)
    forward = origin - (bone["PSIS_r"] + bone["PSIS_l"]) / 2
    forward -= (forward @ right) * right
    forward /= np.linalg.norm(forward)
    return origin, np.array([forward, np.cross(right, forward), right])


def hip_centres(bone: dict[str, np.ndarray], knees: dict[str, np.ndarray], sex: str | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Hip centres (3,) m by side (r, l) and method. `knees`: their centres by side, which leg length needs in poses other than standing."""
    origin, frame = pelvic_frame(bone)
    width = float(np.linalg.norm(bone["ASIS_r"] - bone["ASIS_l"])) * 1000
    depth = float(np.linalg.norm(origin - (bone["PSIS_r"] + bone["PSIS_l"]) / 2)) * 1000
    out: dict[str, dict[str, np.ndarray]] = {}
    for s, sign in (("r", 1.0), ("l", -1.0)):
        bell = np.array([-0.19, -0.30, 0.36 * sign]) * width
        # ASIS to medial malleolus of a straight leg, from the parts: the drop from ASIS to hip, thigh and shank.
        hip = origin + bell / 1000 @ frame
        leg = 1000 * (np.linalg.norm(hip - knees[s]) + np.linalg.norm(knees[s] - bone[f"malleolus_medial_{s}"])) - bell[1]
        local = {
            "harrington_2007": np.array(
                [-0.24 * depth - 9.9, -0.16 * width - 0.04 * leg - 7.1, sign * (0.28 * depth + 0.16 * width + 7.9)]
            ),
            "hara_2016": np.array([11 - 0.063 * leg, -9 - 0.078 * leg, sign * (8 + 0.086 * leg)]),
            "bell_1990": bell,
        }  # fmt: skip
        out[s] = {name: origin + point / 1000 @ frame for name, point in local.items()}
        if "pubic_symphysis" in bone:
            x, y, z = _of_sex(REED_HIP, sex)
            out[s]["reed_1999"] = origin + width / 1000 * np.array([x, -sign * y, z]) @ _reed_frame(bone)
    return out


def _pelvis(bone: dict[str, np.ndarray], found: dict[str, JointCentre], sex: str | None) -> dict[str, JointCentre]:
    hips = hip_centres(bone, {s: found[f"knee_{s}"].position for s in "rl"}, sex)
    out = {f"hip_{s}": _combined_hip(methods) for s, methods in hips.items()}
    if "pubic_symphysis" in bone:
        origin = (bone["ASIS_r"] + bone["ASIS_l"]) / 2
        width = np.linalg.norm(bone["ASIS_r"] - bone["ASIS_l"])
        out["L5S1"] = JointCentre(origin + width * np.array(_of_sex(REED_L5S1, sex)) @ _reed_frame(bone), METHOD_STD_M["L5S1"])
    return out


def _reed_frame(bone: dict[str, np.ndarray]) -> np.ndarray:
    """Rows x forward, y left, z up, z in the plane of ASIS and pubic symphysis."""
    left = bone["ASIS_l"] - bone["ASIS_r"]
    left /= np.linalg.norm(left)
    up = (bone["ASIS_l"] + bone["ASIS_r"]) / 2 - bone["pubic_symphysis"]
    up -= (up @ left) * left
    up /= np.linalg.norm(up)
    return np.array([np.cross(left, up), left, up])


def _thorax(bone: dict[str, np.ndarray], found: dict[str, JointCentre], sex: str | None) -> dict[str, JointCentre]:
    below = found["L5S1"].position if "L5S1" in found else (bone["PSIS_r"] + bone["PSIS_l"]) / 2
    forward = bone["suprasternale"] - bone["C7"]
    width = np.linalg.norm(forward)
    forward = forward / width
    up = bone["C7"] - below
    up = up - (up @ forward) * forward
    up /= np.linalg.norm(up)

    def at(start: np.ndarray, share: float, degrees: float) -> np.ndarray:
        angle = np.deg2rad(degrees)
        return start + share * width * (np.cos(angle) * forward + np.sin(angle) * up)

    out = {"C7T1": JointCentre(at(bone["C7"], *_of_sex(REED_C7T1, sex)), METHOD_STD_M["C7T1"])}
    for s in "rl":
        if f"acromion_{s}" in bone:
            out[f"shoulder_{s}"] = JointCentre(at(bone[f"acromion_{s}"], *REED_SHOULDER), METHOD_STD_M["shoulder"])
    return out


def _of_sex(values: dict[str, tuple[float, ...]], sex: str | None) -> tuple[float, ...]:
    """Of an unknown sex the mean of both."""
    if sex is None:
        return tuple((a + b) / 2 for a, b in zip(values["female"], values["male"], strict=True))
    return values[sex]


def _combined_hip(methods: dict[str, np.ndarray]) -> JointCentre:
    """Weighted by inverse variance. They share landmarks, so their number does not make the error that each has by itself less."""
    points = np.array(list(methods.values()))
    weights = np.array([HIP_ERROR_M[name] for name in methods]) ** -2
    weights /= weights.sum()
    mean = weights @ points
    spread = np.sqrt(((points - points.mean(0)) ** 2).sum() / 3 / (len(points) - 1))
    return JointCentre(mean, float(np.hypot(spread * np.linalg.norm(weights), METHOD_STD_M["hip"])), float(spread), methods)
