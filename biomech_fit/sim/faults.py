"""What goes wrong in a lab for a while: cameras, clocks, detectors and the network, each fault with its beginning and end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from biomech_fit.core.camera import Camera
from biomech_fit.sim.cameras import perturbed
from biomech_fit.sim.config import SimConfig

ALL = -1
REORDERED_PERIODS = 1.25
"""A reordered packet arrives this many frame periods late: just after the camera's next one."""


@dataclass(frozen=True)
class Fault:
    """`camera` counts from 0, ALL = every one. Active from `from_s` until before `until_s`, in true time of the recording."""

    camera: int = ALL
    from_s: float = 0.0
    until_s: float = math.inf
    kind: ClassVar[str] = ""

    def hits(self, camera: int) -> bool:
        return self.camera in (ALL, camera)

    def active(self, time_s: np.ndarray) -> np.ndarray:
        return (time_s >= self.from_s) & (time_s < self.until_s)

    @property
    def settles_s(self) -> tuple[float, ...]:
        """From when on the stream is as it should be, or differently wrong for good."""
        return (self.until_s,)

    @property
    def details(self) -> str:
        return ""


@dataclass(frozen=True)
class Silent(Fault):
    """The camera sends nothing."""

    kind: ClassVar[str] = "silent"


@dataclass(frozen=True)
class Loss(Fault):
    """A share of the packets never arrives."""

    share: float = 0.2
    kind: ClassVar[str] = "loss"

    @property
    def details(self) -> str:
        return f"share={self.share:g}"


@dataclass(frozen=True)
class Lag(Fault):
    """The pictures are older than their stamps by `lag_s`, as of a camera without hardware synchronisation."""

    lag_s: float = 0.025
    kind: ClassVar[str] = "lag"

    @property
    def details(self) -> str:
        return f"lag_s={self.lag_s:g}"


@dataclass(frozen=True)
class ClockStep(Fault):
    """The clock behind the stamps is set: `step_s` is added to them, the exposures stay where they are."""

    step_s: float = 0.02
    kind: ClassVar[str] = "clock_step"

    @property
    def settles_s(self) -> tuple[float, ...]:
        return (self.from_s, self.until_s)

    @property
    def details(self) -> str:
        return f"step_s={self.step_s:g}"


@dataclass(frozen=True)
class Swaps(Fault):
    """In a share of the frames left and right are exchanged."""

    share: float = 0.7
    kind: ClassVar[str] = "swaps"

    @property
    def details(self) -> str:
        return f"share={self.share:g}"


@dataclass(frozen=True)
class Stranger(Fault):
    """The camera sees somebody else besides."""

    kind: ClassVar[str] = "stranger"


@dataclass(frozen=True)
class Moved(Fault):
    """Somebody runs into the tripod at `from_s`; it stays where it is then."""

    rotation_rad: float = math.radians(2.0)
    translation_m: float = 0.1
    kind: ClassVar[str] = "moved"

    @property
    def settles_s(self) -> tuple[float, ...]:
        return (self.from_s,)

    @property
    def details(self) -> str:
        return f"rotation_deg={math.degrees(self.rotation_rad):g} translation_mm={1e3 * self.translation_m:g}"


@dataclass(frozen=True)
class Away(Fault):
    """No camera sees the person."""

    kind: ClassVar[str] = "away"


@dataclass(frozen=True)
class Duplicates(Fault):
    """A share of the packets arrives twice."""

    share: float = 0.1
    kind: ClassVar[str] = "duplicates"

    @property
    def details(self) -> str:
        return f"share={self.share:g}"


@dataclass(frozen=True)
class Late(Fault):
    """A share of the packets arrives `delay_s` after the others of its frame."""

    share: float = 0.1
    delay_s: float = 0.06
    kind: ClassVar[str] = "late"

    @property
    def details(self) -> str:
        return f"share={self.share:g} delay_s={self.delay_s:g}"


@dataclass(frozen=True)
class Reordered(Fault):
    """A share of the packets arrives after the camera's next one."""

    share: float = 0.1
    kind: ClassVar[str] = "reordered"

    @property
    def details(self) -> str:
        return f"share={self.share:g}"


def faults_of(config: SimConfig) -> tuple[Fault, ...]:
    """The faults that the settings ask for."""
    faults: list[Fault] = []
    if config.silent_camera >= 0:
        faults.append(Silent(config.silent_camera, config.silent_from_s, config.silent_until_s))
    if config.lagging_camera >= 0:
        faults.append(Lag(config.lagging_camera, config.lag_from_s, lag_s=1e-3 * config.lag_ms))
    if config.clock_step_ms:
        faults.append(ClockStep(config.clock_step_camera, config.clock_step_at_s, step_s=1e-3 * config.clock_step_ms))
    if config.swap_camera >= 0:
        faults.append(Swaps(config.swap_camera, config.swap_from_s, config.swap_from_s + config.swap_for_s))
    if config.moved_camera >= 0:
        turn, shift = math.radians(config.moved_rotation_deg), 1e-3 * config.moved_translation_mm
        faults.append(Moved(config.moved_camera, config.moved_at_s, rotation_rad=turn, translation_m=shift))
    if config.away_for_s > 0:
        faults.append(Away(from_s=config.away_at_s, until_s=config.away_at_s + config.away_for_s))
    if config.duplicate_fraction > 0:
        faults.append(Duplicates(share=config.duplicate_fraction))
    if config.late_fraction > 0:
        faults.append(Late(share=config.late_fraction, delay_s=1e-3 * config.late_ms))
    if config.reordered_fraction > 0:
        faults.append(Reordered(share=config.reordered_fraction))
    faults += [Stranger(camera) for camera in range(config.strangers)]
    return tuple(faults)


def of_camera(faults: Sequence[Fault], camera: int) -> list[Fault]:
    return [fault for fault in faults if fault.hits(camera)]


def lag(faults: Sequence[Fault], time_s: np.ndarray) -> np.ndarray:
    """(T,) s by which the pictures are older than their frame times."""
    return sum((f.lag_s * f.active(time_s) for f in faults if isinstance(f, Lag)), np.zeros_like(time_s))


def clock_step(faults: Sequence[Fault], time_s: np.ndarray) -> np.ndarray:
    """(T,) s that the clock adds to the stamps."""
    return sum((f.step_s * f.active(time_s) for f in faults if isinstance(f, ClockStep)), np.zeros_like(time_s))


def any_active(faults: Sequence[Fault], kind: type[Fault], time_s: np.ndarray) -> np.ndarray:
    """(T,) bool: a fault of the kind is active."""
    return np.any([f.active(time_s) for f in faults if isinstance(f, kind)] or [np.zeros(len(time_s), bool)], axis=0)


def struck(faults: Sequence[Loss | Swaps | Duplicates | Late | Reordered], time_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T,) bool: the frames that faults with a share fall upon."""
    out = np.zeros(len(time_s), bool)
    for fault in faults:
        out |= fault.active(time_s) & (rng.random(len(time_s)) < fault.share)
    return out


def places(camera: Camera, faults: Sequence[Fault], rng: np.random.Generator) -> list[tuple[float, Camera]]:
    """(from when, the camera as it then stands), in order of time."""
    out = [(-math.inf, camera)]
    for fault in sorted((f for f in faults if isinstance(f, Moved)), key=lambda f: f.from_s):
        out.append((fault.from_s, perturbed([out[-1][1]], rng, fault.rotation_rad, fault.translation_m)[0]))
    return out


def delivery(faults: Sequence[Fault], time_s: np.ndarray, period_s: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every packet whether it arrives (T,) bool, its delay (T,) s, and whether it arrives once more (T,) bool."""
    sent = ~any_active(faults, Silent, time_s) & ~struck([f for f in faults if isinstance(f, Loss)], time_s, rng)
    delay = np.zeros(len(time_s))
    for fault in faults:
        if isinstance(fault, Late):
            delay = np.maximum(delay, fault.delay_s * struck([fault], time_s, rng))
    delay = np.maximum(delay, REORDERED_PERIODS * period_s * struck([f for f in faults if isinstance(f, Reordered)], time_s, rng))
    return sent, delay, struck([f for f in faults if isinstance(f, Duplicates)], time_s, rng)
