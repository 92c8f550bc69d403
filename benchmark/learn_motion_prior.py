"""Scales of the motion prior, learned from recorded walks: jerk_std and acceleration_std of every coordinate, and the mean pose of walking.

    python benchmark/learn_motion_prior.py [FOLDER] [--json FILE]      # about 5 minutes on 2 cores; FOLDER: ../shared/data/mcgill_walking

The prior (core/motion.py) takes the third derivative of a coordinate for white noise of spectral density jerk_std^2 / 60 Hz, and its acceleration for white
noise of density acceleration_std^2 * 0.1 s: together an acceleration that forgets exponentially (Singer 1970). For each coordinate this finds the pair that is
most likely, that gives the least smoothed error and that gives the least causal error, when the coordinate is seen at 60 Hz through the white noise that the
cameras leave. Everything is linear and Gaussian, so the expectation over the noise is exact.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.linalg import expm, solve_triangular
from walking_poses import WalkingPoses, fit_trial, keypoint_moves, walking_body, walking_trials

from biomech_fit.core.body import BodyModel
from biomech_fit.core.motion import ACCELERATION_MEMORY_S, POSE_MEMORY_S, REFERENCE_STEP_S

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "mcgill_walking"
RATE_HZ = 60.0
POINT_STD_M = 0.005
"""Of a keypoint in one frame, per axis: eight cameras 4 to 5 m away with 4 px each."""
MIN_NOISE_STD, MAX_NOISE_STD = 0.005, 0.15
"""m or rad. Below and above, a coordinate by itself is no picture of the whole body's fit any more."""
SETTLE_S = 0.5
"""Left out of the causal error at the start."""
JERK_GRID = 2.0 ** np.arange(3.0, 13.01, 0.5)
"""jerk_std tried, m/s^3 or rad/s^3."""
ACCELERATION_GRID = 2.0 ** np.arange(-2.0, 3.01, 0.5)
"""acceleration_std tried, as a multiple of the walks' RMS acceleration."""
SLACK = 0.01
"""The errors are flat towards high jerk_std (white acceleration): the smallest value that gives errors within this share of the best is taken."""
KINDS = ("smooth", "causal")
AT_LIMIT = 0.05
"""A coordinate that is at its range of motion for more of the frames than this is the fit's, not the person's: left out."""
ROOT_ROWS = {"pelvis_horizontal": (0, 1), "pelvis_vertical": (2,), "pelvis_list": (3,), "pelvis_rotation": (4,), "pelvis_tilt": (5,)}
"""The root's coordinates by what they are in the solver: the position in the z-up world, and the rotation vector about the axes of an upright pelvis
(forward, up, right). The heading is arbitrary, so the horizontal ones are one group."""


def groups(body: BodyModel) -> dict[str, tuple[int, ...]]:
    """Coordinates that share one prior: left with right, forward with sideways."""
    out: dict[str, tuple[int, ...]] = dict(ROOT_ROWS)
    for i, name in enumerate(body.coordinate_names[6:], 6):
        free = name[:-2] if name.endswith(("_r", "_l")) else name
        out[free] = (*out.get(free, ()), i)
    return out


def resampled(fit: WalkingPoses, rate_hz: float) -> WalkingPoses:
    """The same motion at another rate (cubic spline through the frames)."""
    time_s = np.arange(len(fit.x)) / fit.rate_hz
    count = int(time_s[-1] * rate_hz) + 1
    return replace(fit, x=make_interp_spline(time_s, fit.x)(np.arange(count) / rate_hz), rate_hz=rate_hz)


def transition(jerk_std: float, acceleration_std: float, step_s: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Transition (3, 3) and noise (3, 3) of position, velocity and acceleration over a step (Van Loan 1978), and the acceleration's variance."""
    density = REFERENCE_STEP_S * jerk_std**2
    rate = min(np.sqrt(density / (ACCELERATION_MEMORY_S * acceleration_std**2)), 20 / step_s)  # so short a memory is none, and the exponential stays finite
    drift = np.array([[0, 1, 0], [0, 0, 1], [0, 0, -rate]])
    block = np.zeros((6, 6))
    block[:3, :3], block[3:, 3:], block[2, 5] = -drift, drift.T, density
    block = expm(block * step_s)
    step = block[3:, 3:].T
    return step, step @ block[:3, 3:], density / (2 * rate)


def covariance(count: int, jerk_std: float, acceleration_std: float, step_s: float) -> np.ndarray:
    """(count, count) prior covariance of a coordinate's values; the first value and velocity are as good as unknown."""
    step, noise, acceleration = transition(jerk_std, acceleration_std, step_s)
    state = np.diag([10.0, 10.0, acceleration])
    ahead = np.empty((count, 3))
    ahead[0] = [1, 0, 0]
    for i in range(1, count):
        ahead[i] = ahead[i - 1] @ step
    out = np.zeros((count, count))
    for i in range(count):
        out[i, i:] = out[i:, i] = ahead[: count - i] @ state[:, 0]
        state = step @ state @ step.T + noise
    return out


def whitener(prior: np.ndarray, noise_std: float) -> np.ndarray:
    """Inverse of the Cholesky factor of prior + white noise. Its leading block is that of a shorter series."""
    return solve_triangular(np.linalg.cholesky(prior + noise_std**2 * np.eye(len(prior))), np.eye(len(prior)), lower=True)


def expected_errors(truth: np.ndarray, whiten: np.ndarray, noise_std: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Expected log likelihood, and expected squared errors (T,) of the smoothed and the causal estimate, of a series (T,) seen with white noise.

    With K = prior + noise and K = L L', the smoothed estimate is y - s^2 K^-1 y and the causal one, at time t, y_t - s^2 (L^-1 y)_t / L_tt.
    """
    count = len(truth)
    truth, whiten, variance = truth - truth[0], whiten[:count, :count], noise_std**2
    inverse = whiten.T @ whiten
    likelihood = -0.5 * (truth @ inverse @ truth + variance * np.trace(inverse)) + np.log(np.diag(whiten)).sum()
    errors = []
    for weights in (inverse, whiten * np.diag(whiten)[:, None]):
        keep = np.eye(count) - variance * weights
        errors.append((variance * weights @ truth) ** 2 + variance * (keep**2).sum(1))
    return float(likelihood), errors[0], errors[1]


def criteria(series: list[np.ndarray], jerk_std: float, acceleration_std: float, noise_std: float, step_s: float) -> np.ndarray:
    """(series, 3): expected log likelihood, RMS error smoothed and causal under one prior."""
    whiten = whitener(covariance(max(map(len, series)), jerk_std, acceleration_std, step_s), noise_std)
    settled = int(SETTLE_S / step_s)
    rows = [expected_errors(x, whiten, noise_std) for x in series]
    return np.array([(likelihood, np.sqrt(smooth.mean()), np.sqrt(causal[settled:].mean())) for likelihood, smooth, causal in rows])


def rms_derivative(series: np.ndarray, order: int, step_s: float) -> float:
    """RMS of a derivative averaged over a step, less its mean."""
    return float(np.std(np.diff(series, order) / step_s**order))


def noise_levels(moves: list[np.ndarray], body: BodyModel) -> np.ndarray:
    """(N,) standard deviation that one frame's keypoints leave of each coordinate, with the weak pose prior (median over frames and walks)."""
    variance = []
    for by_pose in moves:
        information = np.swapaxes(by_pose, 1, 2) @ by_pose / POINT_STD_M**2 + np.diag(1 / np.minimum(body.pose_std, 1e3) ** 2)
        variance.append(np.diagonal(np.linalg.inv(information), axis1=1, axis2=2))
    return np.clip(np.sqrt(np.median(np.concatenate(variance), 0)), MIN_NOISE_STD, MAX_NOISE_STD)


def learn(fits: list[WalkingPoses], moves: list[np.ndarray], body: BodyModel) -> dict[str, dict]:
    """The table: for each group of coordinates the best scales, the errors they give, and the pose."""
    noise = noise_levels(moves, body)
    table: dict[str, dict] = {}
    for name, columns in groups(body).items():
        people, series = [], []
        for fit in fits:
            for column in columns:
                x = fit.x[:, column]
                if np.mean((x > body.upper[column]) | (x < body.lower[column])) <= AT_LIMIT:
                    people.append(fit.person)
                    series.append(x)
        first = body.coordinate_names.index(_yaml_name(name)) if columns[0] < 6 else columns[0]
        present = float(body.jerk_std[first]), float(body.acceleration_std[first])
        table[name] = _row(people, series, float(noise[list(columns)].mean()), present)
    return table


def _yaml_name(group: str) -> str:
    """A group of root coordinates in the model's YAML (OpenSim's axes: y is up)."""
    return {"pelvis_horizontal": "pelvis_tx", "pelvis_vertical": "pelvis_ty"}.get(group, group)


def _row(people: list[str], series: list[np.ndarray], noise_std: float, present: tuple[float, float]) -> dict:
    step_s = 1 / RATE_HZ
    rms = float(np.median([rms_derivative(x, 2, step_s) for x in series]))
    # (jerk_std, acceleration_std, series, criterion): minus log likelihood; log RMS error smoothed, causal, and both together.
    losses = np.array([[_losses(series, (jerk, factor * rms), noise_std) for factor in ACCELERATION_GRID] for jerk in JERK_GRID])
    losses = np.concatenate([losses, losses[..., 1:].sum(-1, keepdims=True)], -1)

    def best(mine: np.ndarray, criterion: int) -> tuple[int, int]:
        pooled = losses[:, :, mine, criterion].mean(-1)
        slack = {1: SLACK, 2: SLACK, 3: 2 * SLACK}.get(criterion, 0.0)
        jerk = int(np.flatnonzero(pooled.min(1) <= pooled.min() + slack)[0])
        return jerk, int(pooled[jerk].argmin())

    def scales(criterion: int) -> list[float]:
        jerk, factor = best(everybody, criterion)
        return [float(JERK_GRID[jerk]), float(ACCELERATION_GRID[factor] * rms)]

    owners = [np.array([p == person for p in people]) for person in dict.fromkeys(people)]
    everybody = np.ones(len(people), bool)
    chosen = best(everybody, 3)
    own = [float(JERK_GRID[best(mine, 3)[0]]) for mine in owners]
    # What a person loses whose scales come from the others.
    excess = [losses[best(~mine, 3)][mine, 1:3].mean(0) - losses[best(mine, 3)][mine, 1:3].mean(0) for mine in owners if not mine.all()]
    weak = int(losses[:, -1, :, 3].mean(-1).argmin()), -1
    return {
        "series": len(series),
        "noise_std": noise_std,
        "present": list(present),
        **{key: scales(i) for i, key in enumerate(("likely", "smooth", "causal", "both"))},
        "jerk_alone": float(JERK_GRID[weak[0]]),
        "jerk_std_over_people": [min(own), max(own)],
        "rms_jerk": float(np.median([rms_derivative(x, 3, step_s) for x in series])),
        "rms_acceleration": rms,
        "error_present": np.exp(_losses(series, present, noise_std)[:, 1:].mean(0)).tolist(),
        "error_both": np.exp(losses[chosen][:, 1:3].mean(0)).tolist(),
        "error_jerk_alone": np.exp(losses[weak][:, 1:3].mean(0)).tolist(),
        "excess_left_out": (np.exp(np.max(excess, 0)) - 1).tolist() if excess else [0.0, 0.0],
        "pose_mean": float(np.mean(np.concatenate(series))),
        "pose_std": float(np.std(np.concatenate(series))),
        "pose_std_within": float(np.sqrt(np.mean([x.var() for x in series]))),
    }


def _losses(series: list[np.ndarray], scales: tuple[float, float], noise_std: float) -> np.ndarray:
    likelihood, smooth, causal = criteria(series, *scales, noise_std, 1 / RATE_HZ).T
    return np.stack([-likelihood, np.log(smooth), np.log(causal)], -1)


def whole_body_errors(
    fit: WalkingPoses, moves: np.ndarray, body: BodyModel, jerk_std: np.ndarray, acceleration_std: np.ndarray, draws: int = 4
) -> dict[str, np.ndarray]:
    """RMS error of the coordinates (N,) and of the keypoints (K,) m, causal and smoothed, when all coordinates are estimated together.

    A Kalman filter and a Rauch-Tung-Striebel smoother on the body linearised along the walk, keypoints with white noise: what the pose's part of the solver
    does when body and cameras are known.
    """
    steps, n = fit.x.shape
    blocks = [transition(j, a, 1 / fit.rate_hz) for j, a in zip(jerk_std, acceleration_std, strict=True)]
    step, noise, start = np.zeros((3, 3, n, n)), np.zeros((3, 3, n, n)), np.zeros((3, 3, n, n))
    for i, (f, q, acceleration) in enumerate(blocks):
        step[..., i, i], noise[..., i, i], start[..., i, i] = f, q, np.diag([10.0, 10.0, acceleration])
    step, noise, covariance_ = (np.swapaxes(a, 1, 2).reshape(3 * n, 3 * n) for a in (step, noise, start))
    draw = np.random.default_rng(0).standard_normal((steps, moves.shape[1], draws)) * POINT_STD_M
    weak = np.diag(1 / np.minimum(body.pose_std, 1e3) ** 2) / fit.rate_hz / POSE_MEMORY_S
    truth = (fit.x - fit.x.mean(0))[..., None]
    state = np.zeros((3 * n, draws))
    state[:n] = truth[0]
    filtered, predicted = [], []
    for t in range(steps):
        if t:
            state, covariance_ = step @ state, step @ covariance_ @ step.T + noise
        predicted.append((state, covariance_))
        information = moves[t].T @ moves[t] / POINT_STD_M**2 + weak
        gain = np.linalg.solve(np.eye(n) + information @ covariance_[:n, :n], information).T  # (information^-1 + P)^-1, symmetric
        side = moves[t].T @ (moves[t] @ (truth[t] - state[:n]) + draw[t]) / POINT_STD_M**2 - weak @ state[:n]
        update = covariance_[:, :n] @ np.linalg.solve(np.eye(n) + information @ covariance_[:n, :n], side)
        state = state + update
        covariance_ = covariance_ - covariance_[:, :n] @ gain @ covariance_[:n]
        covariance_ = 0.5 * (covariance_ + covariance_.T)
        filtered.append((state, covariance_))
    smoothed = [filtered[-1][0]]
    for t in range(steps - 2, -1, -1):
        back = np.linalg.solve(predicted[t + 1][1], step @ filtered[t][1]).T
        smoothed.append(filtered[t][0] + back @ (smoothed[-1] - predicted[t + 1][0]))
    settled = int(SETTLE_S * fit.rate_hz)
    out = {}
    for key, states in (("causal", [f[0] for f in filtered]), ("smooth", smoothed[::-1])):
        error = np.array(states)[settled:, :n] - truth[settled:]
        out[f"{key}_coordinates"] = np.sqrt((error**2).mean((0, 2)))
        points = np.einsum("tin,tnd->tid", moves[settled:], error)
        points = points.reshape(len(points), -1, 3, draws)
        out[f"{key}_points"] = np.sqrt((points**2).sum(2).mean((0, 2)))
    return out


def proposal(table: dict[str, dict], floor: float) -> dict[str, dict[str, float]]:
    """jerk_std and acceleration_std for the model's YAML, by group: least causal and smoothed error together, two digits.

    Never less than `floor` times the present value: straight walking hardly moves some coordinates, and other tasks do.
    """
    out = {}
    for name, row in table.items():
        values = (max(found, floor * present) for found, present in zip(row["both"], row["present"], strict=True))
        out[name] = dict(zip(("jerk_std", "acceleration_std"), map(_two_digits, values), strict=True))
    return out


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def spread_out(values: dict[str, dict[str, float]], body: BodyModel) -> dict[str, np.ndarray]:
    """A proposal as arrays (N,) in the solver's order of coordinates."""
    out = {key: np.zeros(len(body.coordinate_names)) for key in ("jerk_std", "acceleration_std")}
    for name, columns in groups(body).items():
        for key, array in out.items():
            array[list(columns)] = values[name][key]
    return out


def correlations(fits: list[WalkingPoses], body: BodyModel, least: float) -> list[tuple[str, str, float]]:
    """Pairs of hinges whose angles go together within walks, strongest first, down to `least`."""
    pooled = np.mean([np.corrcoef(fit.x[:, 6:].T) for fit in fits], 0)
    names = body.coordinate_names[6:]
    pairs = [(names[i], names[j], float(pooled[i, j])) for i in range(len(names)) for j in range(i) if abs(pooled[i, j]) >= least]
    return sorted(pairs, key=lambda p: -abs(p[2]))


def print_table(table: dict[str, dict], proposed: dict[str, dict[str, float]]) -> None:
    """Markdown. A cell of two scales is jerk_std, acceleration_std (m and rad); of two errors smoothed, causal (mm, degrees); poses in rad."""
    heads = (
        *("coordinate", "noise", "RMS of the walks", "now", "most likely", "least smoothed error", "least causal error", "least of both", "proposed"),
        *("jerk_std over people", "error now", "error, least of both", "jerk_std alone: value, error", "worst excess left out", "mean, sd, sd within a walk"),
    )
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for name, row in table.items():
        moves = name in ("pelvis_horizontal", "pelvis_vertical")
        unit, unit_name = (1e3, "mm") if moves else (180 / np.pi, "°")
        now, both, alone = (", ".join(f"{unit * e:.2f}" for e in row[f"error_{key}"]) for key in ("present", "both", "jerk_alone"))
        low, high = row["jerk_std_over_people"]
        cells = (
            f"`{name}`",
            f"{unit * row['noise_std']:.1f} {unit_name}",
            _pair(row["rms_jerk"], row["rms_acceleration"]),
            *(_pair(*row[key]) for key in ("present", "likely", "smooth", "causal", "both")),
            _pair(*proposed[name].values()),
            f"{low:.0f} to {high:.0f}",
            now,
            both,
            f"{row['jerk_alone']:.0f}: {alone}",
            ", ".join(f"{100 * value:.0f} %" for value in row["excess_left_out"]),
            "" if moves else f"{row['pose_mean']:.2f}, {row['pose_std']:.2f}, {row['pose_std_within']:.2f}",
        )
        print(f"| {' | '.join(cells)} |")


def _pair(jerk_std: float, acceleration_std: float) -> str:
    return f"{jerk_std:.0f}, {acceleration_std:.2g}"


def print_whole_body(fits: list[WalkingPoses], moves: list[np.ndarray], body: BodyModel, proposed: dict[str, dict[str, float]], floor: float) -> None:
    """Errors of the whole body under the present scales, the proposed ones, those times a factor, and those learned without the person."""
    present = {"jerk_std": body.jerk_std, "acceleration_std": body.acceleration_std}
    learned = spread_out(proposed, body)
    cases = {"now": [present] * len(fits), "proposed": [learned] * len(fits)}
    for factor in (0.5, 2.0):
        cases[f"proposed, jerk_std x {factor:g}"] = [learned | {"jerk_std": factor * learned["jerk_std"]}] * len(fits)
    if len(fits) > 1:
        rest = [[i for i, other in enumerate(fits) if other.person != fit.person] for fit in fits]
        tables = [learn([fits[i] for i in others], [moves[i] for i in others], body) for others in rest]
        cases["learned from the other people"] = [spread_out(proposal(table, floor), body) for table in tables]
    legs_of = ("Hip", "Knee", "Ankle", "Heel", "BigToe", "SmallToe")
    legs = [k for k, name in enumerate(np.array(body.keypoint_names)[body.keypoint_body >= 0]) if name[1:] in legs_of]
    angles = [i for i, name in enumerate(body.coordinate_names) if name.startswith(("hip_flexion", "knee", "ankle"))]
    print("| scales | legs' keypoints: smoothed, causal (mm) | all keypoints (mm) | hip, knee, ankle flexion: smoothed | causal (°) |\n|---|---|---|---|---|")
    for title, scales in cases.items():
        errors = [whole_body_errors(fit, by_pose, body, **own) for fit, by_pose, own in zip(fits, moves, scales, strict=True)]
        mean = {key: np.sqrt(np.mean([e[key] ** 2 for e in errors], 0)) for key in errors[0]}
        points = [", ".join(f"{1e3 * _rms(mean[f'{kind}_points'][which]):.2f}" for kind in KINDS) for which in (legs, slice(None))]
        flexion = [", ".join(f"{np.rad2deg(_rms(mean[f'{kind}_coordinates'][angles[i::3]])):.2f}" for i in range(3)) for kind in KINDS]
        print(f"| {title} | {' | '.join((*points, *flexion))} |", flush=True)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--floor", type=float, default=0.5, help="least share of the present value (default: 0.5)")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    arguments = parser.parse_args()
    trials = walking_trials(arguments.folder)
    if not trials:
        sys.exit(f"There are no walks (*/Straight/*.c3d) in {arguments.folder}; give the folder of mcgill_walking.")
    body, fits = walking_body(), []
    for trial in trials:
        fit = fit_trial(trial, body)
        fits.append(resampled(fit, RATE_HZ))
        print(f"<!-- {fit.person}: {len(fit.x)} frames, {1e3 * fit.error_m:.1f} mm RMS between recorded and fitted points -->", flush=True)
    moves = [keypoint_moves(fit, body) for fit in fits]
    table = learn(fits, moves, body)
    proposed = proposal(table, arguments.floor)
    print_table(table, proposed)
    print()
    print_whole_body(fits, moves, body, proposed, arguments.floor)
    print()
    for first, second, value in correlations(fits, body, 0.6):
        print(f"{first} {second} {value:+.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"table": table, "proposed": proposed}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
