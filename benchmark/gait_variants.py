"""The labelled walks altered, with labels that stay true: what a detector that was only fitted to the recordings would not survive.

    python benchmark/gait_variants.py [-o OUT.json] [--no-cameras]

From 3D markers: slower, mirrored, turned, at other frame rates, noisier, with lost frames, on a belt, shorter, with feet that drag, backwards. Through the
simulated cameras of `gait_events.py`, one recording of each walk: less and more noise, half the frame rate, lost packets, a silent camera, cameras that are not
where the calibration says, noise that lasts.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from gait_events import NAMES, Result, from_markers, through_cameras
from gait_scores import Errors
from gait_walks import Walk, overground, treadmill
from recordings import CONDITIONS, Recording
from rigs import pixels
from scipy.interpolate import CubicSpline

from biomech_fit.core.types import EventType, Side
from biomech_fit.formats.atomic import write_text

MARKER_RATE_HZ = 100.0


def resampled(walk: Walk, rate_hz: float) -> Walk:
    """At another frame rate, by cubic splines; missing instants stay missing."""
    time_s = np.arange(walk.time_s[0], walk.time_s[-1] + 1e-9, 1.0 / rate_hz)
    return replace(walk, time_s=time_s, **{name: _at(walk, getattr(walk, name), time_s) for name in ("heels", "toes", "sacrum")})


def _at(walk: Walk, points: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    out = np.full((len(time_s), *points.shape[1:]), np.nan)
    flat, flat_out = points.reshape(len(points), -1), out.reshape(len(time_s), -1)
    for k, column in enumerate(flat.T):
        there = np.isfinite(column)
        if there.sum() >= 4:
            near = np.interp(time_s, walk.time_s, there) > 0.999
            flat_out[near, k] = CubicSpline(walk.time_s[there], column[there])(time_s[near])
    return out


def slower(walk: Walk, speed: float, rate_hz: float = MARKER_RATE_HZ) -> Walk:
    """Played at a share of its speed, and sampled at the rate as ever."""
    labels = tuple(replace(label, time_s=label.time_s / speed) for label in walk.labels)
    return resampled(replace(walk, time_s=walk.time_s / speed, labels=labels), rate_hz)


def mirrored(walk: Walk) -> Walk:
    """Left is right."""
    flip = np.array([1.0, -1.0, 1.0])
    labels = tuple(replace(label, side=Side(1 - label.side)) for label in walk.labels)
    return replace(walk, heels=walk.heels[:, ::-1] * flip, toes=walk.toes[:, ::-1] * flip, sacrum=walk.sacrum * flip, labels=labels)


def turned(walk: Walk, degrees: float) -> Walk:
    """Walks another way."""
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return _moved(walk, lambda points: points @ turn.T)


def shorter(walk: Walk, share: float) -> Walk:
    """All ways along the floor, and heights, at a share: a child's steps, or a shuffling person's."""
    return _moved(walk, lambda points: points * [share, share, 0.5 + 0.5 * share])


def dragged(walk: Walk, share: float) -> Walk:
    """Feet that are lifted by a share of their height only."""
    low = [np.nanpercentile(points[..., 2], 5, axis=0) for points in (walk.heels, walk.toes)]
    heels, toes = walk.heels.copy(), walk.toes.copy()
    for points, ground in zip((heels, toes), low, strict=True):
        points[..., 2] = ground + share * (points[..., 2] - ground)
    return replace(walk, heels=heels, toes=toes)


def noisy(walk: Walk, sigma_m: float, seed: int = 0) -> Walk:
    """White noise on every point and axis."""
    rng = np.random.default_rng(seed)
    return _moved(walk, lambda points: points + sigma_m * rng.standard_normal(points.shape))


def thinned(walk: Walk, share: float, seed: int = 0) -> Walk:
    """Of all frames a share is lost, at random."""
    kept = np.random.default_rng(seed).random(len(walk.time_s)) >= share
    return replace(walk, time_s=walk.time_s[kept], heels=walk.heels[kept], toes=walk.toes[kept], sacrum=walk.sacrum[kept])


def on_a_belt(walk: Walk) -> Walk:
    """The person stays where he is and the floor goes back."""
    middle = np.nanmean(np.concatenate([walk.heels, walk.toes], axis=1), axis=1)
    slope = np.polyfit(walk.time_s, middle[:, :2], 1)[0]
    back = (walk.time_s - walk.time_s[0])[:, None] * [*slope, 0.0]
    return replace(walk, heels=walk.heels - back[:, None], toes=walk.toes - back[:, None], sacrum=walk.sacrum - back)


def backwards(walk: Walk) -> Walk:
    """Played from the end: the person walks backwards, toes first, and the heel leaves last."""
    end = walk.time_s[-1] + walk.time_s[0]
    kinds = {EventType.INITIAL_CONTACT: EventType.FINAL_CONTACT, EventType.FINAL_CONTACT: EventType.INITIAL_CONTACT}
    labels = tuple(replace(label, time_s=end - label.time_s, type=kinds[label.type]) for label in reversed(walk.labels))
    return replace(walk, heels=walk.heels[::-1], toes=walk.toes[::-1], sacrum=walk.sacrum[::-1], labels=labels)


def _moved(walk: Walk, move: Callable[[np.ndarray], np.ndarray]) -> Walk:
    return replace(walk, heels=move(walk.heels), toes=move(walk.toes), sacrum=move(walk.sacrum))


VARIANTS: dict[str, Callable[[Walk], Walk]] = {
    "as recorded": lambda walk: walk,
    "at 0.75 of the speed": lambda walk: slower(walk, 0.75),
    "at 0.6 of the speed": lambda walk: slower(walk, 0.6),
    "at 0.45 of the speed": lambda walk: slower(walk, 0.45),
    "at 1.2 of the speed": lambda walk: slower(walk, 1.2),
    "mirrored": mirrored,
    "turned by 50°": lambda walk: turned(walk, 50.0),
    "30 Hz": lambda walk: resampled(walk, 30.0),
    "50 Hz": lambda walk: resampled(walk, 50.0),
    "120 Hz": lambda walk: resampled(walk, 120.0),
    "60 Hz, 2 mm of noise": lambda walk: noisy(resampled(walk, 60.0), 0.002),
    "60 Hz, 5 mm of noise": lambda walk: noisy(resampled(walk, 60.0), 0.005),
    "60 Hz, 10 mm of noise": lambda walk: noisy(resampled(walk, 60.0), 0.010),
    "60 Hz, a fifth of the frames lost": lambda walk: thinned(resampled(walk, 60.0), 0.2),
    "on a belt": on_a_belt,
    "all lengths at 0.6": lambda walk: shorter(walk, 0.6),
    "all lengths at 0.35": lambda walk: shorter(walk, 0.35),
    "lifted to 0.4 of the height": lambda walk: dragged(walk, 0.4),
    "lengths at 0.35 and speed at 0.6": lambda walk: shorter(slower(walk, 0.6), 0.35),
    "backwards, toes first": backwards,
}


def louder(recording: Recording, factor: float) -> Recording:
    """The detectors' errors times a factor."""
    true = {camera.name: pixels(camera, recording.points) for camera in recording.true}
    frames = [
        [replace(packet, xy=(true[packet.camera][t] + factor * (packet.xy - true[packet.camera][t])).astype(np.float32)) for packet in packets]
        for t, packets in enumerate(recording.frames)
    ]
    return replace(recording, frames=frames)


def every_second(recording: Recording) -> Recording:
    """Half of the frame rate."""
    return replace(recording, frames=recording.frames[::2], stamp_ns=recording.stamp_ns[::2], points=recording.points[::2], angles=recording.angles[::2])


BEFORE_CAMERAS: dict[str, tuple[str, Callable[[Recording], Recording] | None]] = {
    "8 cameras, 2 px of noise": ("clean", lambda recording: louder(recording, 0.5)),
    "8 cameras, 8 px of noise": ("clean", lambda recording: louder(recording, 2.0)),
    "8 cameras, 30 Hz": ("clean", every_second),
    "8 cameras, noise correlated in time (0.8)": ("correlated", None),
    "8 cameras, a fifth of the packets lost": ("loss", None),
    "8 cameras, one silent from the middle": ("silent", None),
    "8 cameras, perturbed": ("perturbed", None),
    "4 cameras in an arc of 90°": ("side90", None),
}
"""Name: condition of `recordings.py`, and what else is changed."""


def row(live: Result, offline: Result) -> str:
    """A variant's line of the table."""
    figures = [[result.events.get(kind, Errors()).figures() for result in (live, offline)] for kind in EventType]
    cells = [f"{f['bias_ms']:+.0f} ± {f['sd_ms']:.0f}" if f["count"] else "" for of_kind in figures for f in of_kind]
    lost = [sum(of_kind[k][what] for of_kind in figures) for k in range(2) for what in ("missed", "false")]
    delays = " / ".join(f"{of_kind[0].get('delay_p95_ms', np.nan):.0f}" for of_kind in figures)
    return f"| {' | '.join([live.data, *cells, f'{lost[0]}, {lost[1]}', f'{lost[2]}, {lost[3]}', delays])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("gait_variants.json"), help="every figure (%(default)s)")
    parser.add_argument("--no-cameras", action="store_true", help="3D markers only")
    arguments = parser.parse_args()
    walks, belt = overground(), treadmill()
    if not walks:
        raise SystemExit("The labelled walks are not here: see docs/recordings.md.")
    heads = " | ".join(f"{NAMES[kind]}, {how}" for kind in EventType for how in ("live", "offline"))
    print(f"| bias ± SD (ms) | {heads} | missed, false: live | offline | delay p95, live (ms) |\n|{'---|' * 8}")
    results = []
    for name, alter in VARIANTS.items():
        altered = [alter(walk) for walk in (walks if alter is on_a_belt else [*walks, *belt])]
        results += [result for result in from_markers(name, altered) if result.method.startswith("ours")]
        print(row(*results[-2:]), flush=True)
    for name, (condition, change) in BEFORE_CAMERAS.items() if not arguments.no_cameras else ():
        results += [r for r in through_cameras(walks, 1, name, CONDITIONS[condition], change) if r.method.startswith("ours")]
        print(row(results[-3], results[-1]), flush=True)
    write_text(arguments.output, json.dumps([result.figures() for result in results], indent=1) + "\n")


if __name__ == "__main__":
    main()
