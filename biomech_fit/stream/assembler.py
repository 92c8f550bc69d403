"""Frame sets from cameras that come late, twice, out of order or not at all.

A set closes when every camera that is worth waiting for is in, or `deadline_s` after the set's first packet arrived. Not worth waiting for are cameras
that are dead, that have already sent a later frame, that are not due (half rate), or that always come later than the deadline. Time is the arrival clock
of the packets (`received_ns`, or the stamp where there is none) and what `poll` is told, never the machine's: a recording gives the same sets each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from biomech_fit.core.errors import InputError
from biomech_fit.core.types import FrameSet, KeypointPacket
from biomech_fit.stream.camera_state import CameraHealth, CameraState
from biomech_fit.stream.stamp_jumps import BACK_PACKETS, StampJumps

BACK_PERIODS = 1.5
"""Packets of most cameras that are late for at least so many frame periods are so because of a wrong stamp that has been given out."""
JOIN_BEYOND = 0.06
"""A set takes a camera that it lacks from a little farther than its half-width: one that exposes half a period beside the others is with either of two sets
then, not alone."""
BESIDE_FASTER = 1.5
"""Of the fastest camera's period: sets are no wider."""
OFFSET_LIMIT = 0.25
"""A camera's clock offset is learned up to this share of the frame period."""
RESET_JUMP_S = 0.15
"""Stamps that go back by more than this start anew."""


@dataclass(eq=False)
class _OpenSet:
    centre: float
    """Mean stamp with the cameras' clock offsets removed."""
    packets: dict[str, KeypointPacket] = field(default_factory=dict)
    started_ns: int | None = None
    """Arrival of the first packet of a camera that is not far ahead of the others."""
    last_arrival: int = 0


class Assembler:
    """Groups packets of all cameras into frame sets, in increasing stamp order and with bounded memory.

    Args:
        cameras: names of the cameras that may send.
        frame_period_s: nominal frame period; the stream's own replaces it after a few frames. None = unknown.
        deadline_s: a set is given out at most this long after its first packet arrived.
        dead_after_s: a camera that sent nothing for this long is not waited for until it sends again.
        tolerance: half-width of a set as a share of the frame period, below 0.5.
        reset_jump_s: stamps of most cameras that fall back by more than this, and by more than a few frames, are a restart of the stream
            (`took_reset`), not late packets.
        max_open: the most sets kept open; beyond it `poll` gives out the oldest, and beyond 16 times it, without a poll, the oldest are dropped.

    Raises:
        InputError: no camera, or a value out of its range.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        frame_period_s: float | None = None,
        deadline_s: float = 0.05,
        *,
        dead_after_s: float = 1.0,
        tolerance: float = 0.49,
        reset_jump_s: float = RESET_JUMP_S,
        max_open: int = 128,
    ) -> None:
        if not cameras:
            raise InputError("The assembler needs at least one camera name.")
        if len(set(cameras)) != len(cameras):
            raise InputError(f"Camera names must differ, but are: {', '.join(cameras)}.")
        if frame_period_s is not None and not frame_period_s > 0:
            raise InputError(f"frame_period_s must be above 0, not {frame_period_s}.")
        if not deadline_s >= 0 or not dead_after_s > 0 or not reset_jump_s > 0 or max_open < 1:
            raise InputError(
                f"deadline_s ({deadline_s}) must not be negative, and dead_after_s ({dead_after_s}), reset_jump_s ({reset_jump_s}) "
                f"and max_open ({max_open}) must be above 0."
            )
        if not 0 < tolerance < 0.5:
            raise InputError(f"tolerance must lie between 0 and 0.5 of a frame period, not {tolerance}.")
        self.cameras = tuple(cameras)
        self._state = {name: CameraState() for name in self.cameras}
        self._nominal_ns = (frame_period_s or 1 / 60) * 1e9
        self._period_ns = self._width_ns = self._nominal_ns
        self._deadline_ns = round(deadline_s * 1e9)
        self._dead_ns = round(dead_after_s * 1e9)
        self._jump_ns = round(reset_jump_s * 1e9)
        self._tolerance = tolerance
        self._max_open = max_open
        self._reset_flag = False
        self._fed = 0
        self._jumps = StampJumps(self._state, self._jump_ns, self._alive)
        self._restart()

    def _restart(self) -> None:
        self._open: list[_OpenSet] = []
        self._jumps.clear()
        self._late_run: Counter[str] = Counter()
        self._late_since: int | None = None
        self._last_emitted: int | None = None
        self._emitted_centre = 0.0
        self._now: int | None = None
        self._first_arrival: int | None = None
        for state in self._state.values():
            state.forget_stamps()

    # -- input

    def feed(self, packet: KeypointPacket) -> None:
        """Takes one packet. Costs some microseconds; raises InputError for a camera that was not announced."""
        state = self._state.get(packet.camera)
        if state is None:
            raise InputError(f"Keypoints came from camera '{packet.camera}', which is not one of: {', '.join(self.cameras)}.")
        state.received += 1
        if self._jumps.is_jump(packet, self._period_ns):
            if not self._jumped(packet):
                return
        elif packet.stamp_ns in state.recent:
            state.duplicates += 1
            return
        else:
            self._jumps.goes_on(packet.camera)
        self._accept(packet, state)

    def _jumped(self, packet: KeypointPacket) -> bool:
        """Goes where the stamps have jumped to, if enough packets say so; False where this one is not to be taken (now)."""
        agreed = self._jumps.agreed(packet)
        if agreed is None:
            return False
        if self._jumps.is_back(packet):
            self._restart()
            self._reset_flag = True
        else:
            self._jumps.clear()
        for earlier in agreed:
            if earlier.stamp_ns not in self._state[earlier.camera].recent:
                self._accept(earlier, self._state[earlier.camera])
        return packet.stamp_ns not in self._state[packet.camera].recent

    def _accept(self, packet: KeypointPacket, state: CameraState) -> None:
        stamp = packet.stamp_ns
        arrival = stamp if packet.received_ns is None else packet.received_ns
        self._now = now = arrival if self._now is None else max(self._now, arrival)
        if self._first_arrival is None:
            self._first_arrival = now
        self._learn(state, stamp, now)
        tolerance = self._tolerance * self._width_ns
        corrected = stamp - state.offset_ns
        if self._last_emitted is not None and (stamp <= self._last_emitted or corrected <= self._emitted_centre + tolerance):
            state.late += 1
            self._late_run[packet.camera] += 1
            self._late_since = now if self._late_since is None else self._late_since
            # What was held up comes at once; packets that are late for a wrong stamp come at their own pace.
            is_pace = packet.received_ns is None or now - self._late_since >= BACK_PERIODS * self._period_ns
            if is_pace and self._all_are_late():
                # It was a wrong stamp that has been given out.
                self._restart()
                self._reset_flag = True
                self._accept(packet, state)
            return
        self._late_run.clear()
        self._late_since = None
        group = None
        best = join = tolerance + JOIN_BEYOND * self._width_ns
        for candidate in reversed(self._open):  # the newest is the likely one
            distance = abs(corrected - candidate.centre)
            if distance <= best and packet.camera not in candidate.packets:
                group, best = candidate, distance
            elif candidate.centre < corrected - join:
                break
        if group is None:
            group = _OpenSet(centre=corrected)
            self._open.append(group)
        n = len(group.packets)
        group.centre += (corrected - group.centre) / (n + 1)
        group.packets[packet.camera] = packet
        group.last_arrival = now
        if group.started_ns is None and state.lead_ns <= self._deadline_ns / 2:
            group.started_ns = now
        self._open.sort(key=lambda s: s.centre)
        if len(self._open) > 16 * self._max_open:  # nobody polls
            del self._open[0]

    def _all_are_late(self) -> bool:
        """Whether most live cameras, and two at least, have been late several times with nobody in time between: one alone may deliver what was held up."""
        live = sum(self._alive(state) for state in self._state.values())
        return sum(n >= BACK_PACKETS for n in self._late_run.values()) >= max(live // 2 + 1, 2)

    def _learn(self, state: CameraState, stamp: int, now: int) -> None:
        """Updates the camera's figures from one more stamp, and now and then the common ones."""
        state.stamp_came(stamp, now, max(self._deadline_ns / 4, 1e6))
        self._fed += 1
        if self._fed < 64 or self._fed % len(self.cameras) == 0:
            self._learn_common()

    def _learn_common(self) -> None:
        live = [s for s in self._state.values() if self._alive(s) and s.delay_ns is not None]
        delays = sorted(s.delay_ns for s in live if s.delay_ns is not None)
        median = delays[len(delays) // 2] if delays else 0.0
        for s in live:
            s.lead_ns = median - (s.delay_ns or 0.0)
        periods = sorted(s.period_ns for s in live if s.period_ns is not None)
        if periods:  # the faster cameras set the pace, but not one that stutters
            self._period_ns = periods[(len(periods) - 1) // 4]
            # A set is as wide as a period, but not so wide that it takes in the frames between, where a camera or two are faster.
            self._width_ns = min(self._period_ns, BESIDE_FASTER * periods[0])

    def took_reset(self) -> bool:
        """True once after the stamps went back by more than `reset_jump_s`; what was open then has been dropped."""
        flag, self._reset_flag = self._reset_flag, False
        return flag

    # -- output

    def poll(self, now_ns: int | None = None) -> list[FrameSet]:
        """The sets that are closed by now, oldest first. `now_ns` is on the packets' arrival clock; None = the newest arrival."""
        if now_ns is not None and self._now is not None:
            self._now = max(self._now, now_ns)
        done: list[FrameSet] = []
        while self._open:
            closed_ns = self._closing_time(self._open[0])
            if closed_ns is None:
                break
            done.append(self._emit(closed_ns))
        return done

    def flush(self) -> list[FrameSet]:
        """Gives out everything that is still open, e.g. at the end of a recording."""
        done = self.poll()
        while self._open:
            done.append(self._emit(self._open[0].last_arrival))
        return done

    def _closing_time(self, group: _OpenSet) -> int | None:
        now = self._now or 0
        deadline = None if group.started_ns is None else group.started_ns + self._deadline_ns
        waiting = False
        if len(group.packets) < len(self.cameras):
            for name, state in self._state.items():
                if name not in group.packets and self._worth_waiting(state, group.centre):
                    waiting = True
                    break
        if not waiting:
            if len(group.packets) == len(self.cameras):
                return group.last_arrival
            return now if deadline is None else max(group.last_arrival, min(now, deadline))
        if deadline is not None and now >= deadline:
            return deadline
        return now if len(self._open) > self._max_open else None

    def _alive(self, state: CameraState, now: int | None = None) -> bool:
        now = self._now if now is None else now
        since = self._first_arrival if state.last_arrival is None else state.last_arrival
        if now is None or since is None:
            return False
        return now - since <= max(self._dead_ns, 4 * (state.period_ns or 0))

    def _due(self, state: CameraState, centre: float) -> bool:
        """Whether a frame of this camera belongs to the instant; false between the frames of a slower camera."""
        period = state.period_ns
        if period is None or period < 1.5 * self._period_ns or not state.recent:
            return True
        tolerance = self._tolerance * self._period_ns
        before = max((s for s in state.recent if s - state.offset_ns < centre + tolerance), default=None)
        return before is None or before - state.offset_ns + period <= centre + tolerance

    def _worth_waiting(self, state: CameraState, centre: float) -> bool:
        if not self._alive(state) or state.lead_ns < -self._deadline_ns:
            return False
        later = 0
        edge = centre + self._tolerance * self._period_ns + state.offset_ns
        for stamp in reversed(state.recent):
            if stamp <= edge:
                break
            later += 1
            if later > state.reorder:
                return False
        return self._due(state, centre)

    def _emit(self, closed_ns: int) -> FrameSet:
        group = self._open.pop(0)
        stamps = sorted(p.stamp_ns for p in group.packets.values())
        n = len(stamps)
        stamp = (stamps[(n - 1) // 2] + stamps[n // 2]) // 2
        if self._last_emitted is not None:
            stamp = max(stamp, self._last_emitted + 1)
        limit = OFFSET_LIMIT * self._period_ns
        missing = []
        for name, state in self._state.items():
            packet = group.packets.get(name)
            if packet is None:
                due = self._due(state, group.centre)
                if due or not self._alive(state):
                    missing.append(name)
                state.missed += due and self._alive(state)
            elif n > 1:
                state.offset_ns += 0.05 * (max(-limit, min(limit, packet.stamp_ns - stamp)) - state.offset_ns)
        self._last_emitted, self._emitted_centre = stamp, group.centre
        packets = {name: group.packets[name] for name in self.cameras if name in group.packets}
        return FrameSet(stamp_ns=stamp, packets=packets, missing=tuple(missing), closed_ns=closed_ns)

    # -- state

    @property
    def frame_period_s(self) -> float:
        """Frame period of the stream; the nominal one until enough frames came."""
        return self._period_ns * 1e-9

    @property
    def open_sets(self) -> int:
        """Sets that wait for cameras."""
        return len(self._open)

    def health(self) -> dict[str, CameraHealth]:
        """Per camera: rate, order and losses."""
        return {
            name: CameraHealth(
                alive=s.last_arrival is not None and self._alive(s),
                rate_hz=1e9 / s.period_ns if s.period_ns else 0.0,
                last_stamp_ns=s.last_stamp,
                received=s.received,
                late=s.late,
                duplicates=s.duplicates,
                lost=max(0, s.missed - s.late),
                bad_stamps=s.bad_stamps + self._jumps.held(name),
                lead_s=s.lead_ns * 1e-9,
                clock_offset_s=s.offset_ns * 1e-9,
            )
            for name, s in self._state.items()
        }
