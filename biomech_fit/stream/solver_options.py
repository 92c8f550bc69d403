"""Sizes and constants of the window solver for a rig at a frame rate."""

from __future__ import annotations

import numpy as np

from biomech_fit.config.fit import FitConfig
from biomech_fit.core.camera import Camera
from biomech_fit.core.contact import ContactNoise
from biomech_fit.core.linear import ORDER
from biomech_fit.core.projection import lens_flags
from biomech_fit.core.residuals import LENS_STATES
from biomech_fit.core.window_costs import SolverOptions

KNOT_SPACING_S = 1 / 30
BEYOND_LAG_S = 0.15
"""How much longer the window is than the lag."""
CONTACT_MEMORY_S = 0.15
"""What is wrong with a resting foot's model stays so for about this long: so many seconds count as one sample."""


def window_frames(config: FitConfig, frame_rate_hz: float) -> int:
    """Frames in the window. Much longer ones give no better result: what leaves the window goes on to speak as a prior, only it is not linearised again."""
    lag_s = config.window.lag_s
    return max(config.window.frames, round((lag_s + BEYOND_LAG_S) * frame_rate_hz), round(lag_s * frame_rate_hz) + 4)


def solver_options(config: FitConfig, frame_rate_hz: float, cameras: list[Camera], has_feet: bool, backend: str) -> SolverOptions:
    """Sizes and constants for a rig at a frame rate."""
    frames = window_frames(config, frame_rate_hz)
    spacing = max(KNOT_SPACING_S, 1 / frame_rate_hz)
    per_interval = max(1, int(np.ceil(spacing * frame_rate_hz - 1e-6)))
    intervals = max(int(np.ceil(frames / (spacing * frame_rate_hz) - 1e-6)), 3)
    distorted, fisheye = lens_flags(cameras)
    lens = LENS_STATES[config.refine.intrinsics] if cameras and config.refine.cameras else 0
    return SolverOptions(
        frames=frames + per_interval,
        knots=intervals + ORDER,
        spacing_s=spacing,
        leaving_frames=min(2 * per_interval, frames),
        refine_cameras=config.refine.cameras or config.refine.clock,
        robust_clock=config.refine.clock,
        contact=ContactNoise(config.contact.speed_std_m_s, config.contact.speed_limit_m_s, config.contact.height_std_m, config.contact.height_limit_m)
        if config.contact.use and has_feet
        else None,
        contact_samples=1 / (frame_rate_hz * CONTACT_MEMORY_S),
        kernel=config.noise.robust_kernel,
        kernel_scale=config.noise.robust_scale,
        jerk_scale=config.motion.jerk_scale,
        acceleration_scale=config.motion.acceleration_scale,
        pose_std_factor=config.priors.pose_std_factor,
        limit_std=config.priors.joint_limit_std_rad,
        damping=config.window.damping,
        memory_s=config.refine.memory_s,
        linear_solver="banded" if backend == "cpu" else "dense",
        lens_states=lens,
        has_distortion=distorted or lens > 1,
        has_fisheye=fisheye,
    )
