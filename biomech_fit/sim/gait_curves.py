"""Joint angles of normal walking over the gait cycle, as Fourier series through tabulated mean curves.

The tables are this project's own numbers: means of healthy adults at a comfortable speed, rounded to about a degree, after
Winter 1991 ("The Biomechanics and Motor Control of Human Gait", sagittal plane), Kadaba et al. 1990 (J Orthop Res 8:383-392, hip and pelvis in
three planes), Perry & Burnfield 2010 ("Gait Analysis", subtalar and metatarsophalangeal joints, arms) and Bovi et al. 2011 (Gait & Posture 33:6-13, speed).
They are given in the clinical convention and turned into OpenSim's (Rajagopal 2016) by `walking_angles`.
"""

from __future__ import annotations

import numpy as np

HARMONICS = 8

TABLES_DEG: dict[str, tuple[float, ...]] = {
    # Every 5 % of the cycle from the leg's own initial contact.
    "hip_flexion": (32, 31.5, 28.5, 24, 19, 13.5, 8, 3, -2, -6.5, -9.5, -9, -3, 6, 16, 24, 30, 33.5, 34.5, 33.5),
    "hip_adduction": (0, 3, 5, 6, 5.5, 5, 4.5, 4, 3, 2, 0.5, -2.5, -5.5, -6.5, -6, -5, -4, -3, -2, -1),
    "hip_rotation": (-2, 0, 2, 3, 3, 2.5, 2, 2, 2, 2, 1, 0, -2, -3, -3, -2.5, -2, -2, -2.5, -3),
    "knee_angle": (5, 12, 17.5, 19, 17, 13.5, 10, 7, 5.5, 6.5, 11, 20.5, 35, 50, 59, 60, 52, 37, 20, 7),
    "ankle_angle": (0, -5.5, -2.5, 1.5, 4, 6, 7.5, 9, 10.5, 11, 8.5, 0, -11, -17, -11, -4.5, -0.5, 1.5, 1.5, 0.5),
    "subtalar_angle": (2, -1, -4, -5, -5, -5, -4.5, -4, -3, -1.5, 0.5, 3, 5, 4.5, 3, 2, 1.5, 1.5, 2, 2.5),
    "mtp_angle": (15, 8, 1, 0, 0, 0, 0, 1, 4, 9, 18, 30, 35, 24, 10, 5, 5, 8, 12, 15),
    # Right leg's cycle; the second half mirrors the first.
    "pelvis_obliquity": (0.5, 2.5, 4, 4, 3, 2, 1.2, 0.8, 0.6, 0.3, -0.5, -2.5, -4, -4, -3, -2, -1.2, -0.8, -0.6, -0.3),
    "pelvis_rotation": (5, 4.5, 3.8, 3, 2.3, 1.5, 0.5, -1, -2.5, -4, -5, -4.5, -3.8, -3, -2.3, -1.5, -0.5, 1, 2.5, 4),
    "pelvis_tilt": (10.6, 10, 9.3, 9, 9.2, 9.8, 10.5, 11, 11.1, 11, 10.6, 10, 9.3, 9, 9.2, 9.8, 10.5, 11, 11.1, 11),
    # Arms of the same side: back at the leg's initial contact, in front at half of the cycle.
    "arm_flex": (-17, -17.5, -16.5, -14, -10, -5, 0, 5, 9, 11.5, 12, 11, 8.5, 5.5, 2, -2, -6, -10, -13, -15.5),
    "elbow_flex": (20, 19.5, 19.5, 20, 21.5, 23.5, 26, 29, 32, 34, 34.5, 33.5, 31.5, 29, 27, 25.5, 24, 23, 22, 21),
}
"""Means in degrees. Positive: flexion, dorsiflexion, adduction, internal rotation, inversion, toe extension; pelvis: side up, side forward, anterior tilt."""

CLINICAL_PELVIS_TILT_DEG = 10.0
STANDING_TILT_DEG = 3.0
"""Plug-in-Gait's pelvis plane is tilted about 10 degrees forward where the OpenSim pelvis is tilted about 3: hip flexion and tilt differ by a constant."""

STANDING_DEG = {
    "hip_flexion": 4.0,
    "hip_adduction": -2.0,
    "hip_rotation": 0.0,
    "knee_angle": 5.0,
    "ankle_angle": 4.0,
    "subtalar_angle": 0.0,
    "mtp_angle": 0.0,
    "arm_flex": 2.0,
    "elbow_flex": 18.0,
}
"""Quiet standing, OpenSim convention."""

STANCE_FRACTION = 0.62
"""Initial to final contact over the stride at 1.3 m/s (Winter 1991: 0.62; Perry & Burnfield 2010: 0.62)."""


def _fourier(table: tuple[float, ...]) -> np.ndarray:
    spectrum = np.fft.rfft(np.deg2rad(np.asarray(table, float))) / len(table)
    return spectrum[: HARMONICS + 1]


_SPECTRA = {name: _fourier(table) for name, table in TABLES_DEG.items()}


def curve(name: str, phase: np.ndarray) -> np.ndarray:
    """Mean curve (rad, clinical convention) at the phase (strides; 0 = initial contact; any shape). Infinitely differentiable and periodic."""
    spectrum = _SPECTRA[name]
    harmonics = np.arange(1, len(spectrum))
    waves = np.exp(2j * np.pi * np.multiply.outer(np.asarray(phase, float), harmonics))
    return spectrum[0].real + 2.0 * np.real(waves @ spectrum[1:])


def stance_fraction(speed_m_s: np.ndarray) -> np.ndarray:
    """Share of the stride that a foot is on the ground; slower walking stands longer (about -0.06 per m/s, Bovi et al. 2011; kept within 0.57 and 0.70)."""
    raw = STANCE_FRACTION - 0.06 * (np.asarray(speed_m_s, float) - 1.3)
    return np.clip(raw, 0.57, 0.70)


def leg_angles(phase: np.ndarray, amplitude: np.ndarray, standing: np.ndarray) -> dict[str, np.ndarray]:
    """Angles of one leg, OpenSim convention, without the side's suffix.

    phase: (T,) strides from the leg's initial contact. amplitude: (T,) 1 = the mean curve, scales the excursion round the curve's mean.
    standing: (T,) 0 = walking, 1 = quiet standing. Returns (T,) arrays in rad.
    """
    angles = {}
    for name in ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "ankle_angle", "subtalar_angle", "mtp_angle"):
        mean = _SPECTRA[name][0].real
        # The knee's swing flexion and the ankle's push-off shrink less than the step does (Bovi et al. 2011).
        gain = amplitude if name.startswith("hip") else 1.0 + 0.6 * (amplitude - 1.0)
        walking = mean + gain * (curve(name, phase) - mean)
        if name == "hip_flexion":
            walking = walking - np.deg2rad(CLINICAL_PELVIS_TILT_DEG - STANDING_TILT_DEG)
        angles[name] = (1.0 - standing) * walking + standing * np.deg2rad(STANDING_DEG[name])
    return angles


def arm_angles(phase: np.ndarray, amplitude: np.ndarray, standing: np.ndarray) -> dict[str, np.ndarray]:
    """Arm swing of one side; arguments and result as in `leg_angles`."""
    angles = {}
    for name in ("arm_flex", "elbow_flex"):
        mean = _SPECTRA[name][0].real
        walking = mean + amplitude * (curve(name, phase) - mean)
        angles[name] = (1.0 - standing) * walking + standing * np.deg2rad(STANDING_DEG[name])
    return angles


def pelvis_angles(phase_right: np.ndarray, amplitude: np.ndarray, standing: np.ndarray) -> dict[str, np.ndarray]:
    """Pelvis relative to the direction of travel, OpenSim signs: tilt (posterior positive), list (right side down), rotation (right side forward), rad."""
    walk = amplitude * (1.0 - standing)
    tilt = curve("pelvis_tilt", phase_right) - np.deg2rad(CLINICAL_PELVIS_TILT_DEG)
    return {
        "pelvis_tilt": -np.deg2rad(STANDING_TILT_DEG) - walk * tilt,
        "pelvis_list": -walk * curve("pelvis_obliquity", phase_right),
        "pelvis_rotation": walk * curve("pelvis_rotation", phase_right),
    }
