"""Which stamps are believed: one wrong clock, or one wrong stamp, can neither stop nor restart the stream."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping

from biomech_fit.core.types import KeypointPacket
from biomech_fit.stream.camera_state import CameraState

_JUMP_PERIODS = 6
"""A jump of the stamps is longer than this many frames: of a slow camera two frames lost are none."""
BACK_PACKETS = 3
"""A camera has gone back when this many packets in a row say so: single ones are late."""
_TOGETHER_NS = 1_000_000_000
"""Stamps after a jump that lie this near to one another agree on it, and those of a camera that joins agree with the others."""


class StampJumps:
    """Holds packets whose stamps are far from what was expected until most cameras agree.

    Args:
        states: of all cameras, as the assembler keeps them.
        jump_ns: stamps that differ by more have jumped.
        alive: whether a camera sends at an instant (ns; None = now).
    """

    def __init__(self, states: Mapping[str, CameraState], jump_ns: int, alive: Callable[[CameraState, int | None], bool]) -> None:
        self._state, self._jump_ns, self._alive = states, jump_ns, alive
        self._suspects: deque[KeypointPacket] = deque(maxlen=4 * len(states))
        self._run = 0

    def clear(self) -> None:
        """Nothing is held."""
        self._suspects.clear()
        self._run = 0

    def held(self, camera: str) -> int:
        """How many of a camera's packets are held."""
        return sum(packet.camera == camera for packet in self._suspects)

    def is_jump(self, packet: KeypointPacket, period_ns: float) -> bool:
        """Whether its stamp is far from what was expected."""
        newest = self._newest()
        if newest is None:
            return False
        far_ns = max(self._jump_ns, _JUMP_PERIODS * period_ns)
        if packet.stamp_ns > newest + far_ns:
            # After a pause of all cameras stamps have gone on as much as the clock on which packets arrive.
            last = self._last_arrival()
            paused_ns = 0 if packet.received_ns is None or last is None else max(packet.received_ns - last, 0)
            return abs(packet.stamp_ns - newest - paused_ns) > far_ns
        own = self._state[packet.camera].last_stamp
        if own is None:  # a camera that joins may be slow
            return packet.stamp_ns < newest - max(far_ns, _TOGETHER_NS)
        return packet.stamp_ns < min(newest, own) - far_ns

    def is_back(self, packet: KeypointPacket) -> bool:
        """Whether its stamp lies before the newest one."""
        newest = self._newest()
        return newest is not None and packet.stamp_ns < newest

    def agreed(self, packet: KeypointPacket) -> list[KeypointPacket] | None:
        """The held packets that this one, which jumped, agrees with, once most live cameras do; None, and it is held as well, before."""
        if len(self._suspects) == self._suspects.maxlen:
            self._state[self._suspects[0].camera].bad_stamps += 1
        self._suspects.append(packet)
        self._run += 1
        together = [p for p in self._suspects if abs(p.stamp_ns - packet.stamp_ns) <= max(self._jump_ns, _TOGETHER_NS)]
        # Those who were there before this packet: after a pause nobody is alive, and one must not speak for all.
        last = self._last_arrival()
        live = {name for name, s in self._state.items() if self._alive(s, last)} | {packet.camera}
        back, count = self.is_back(packet), Counter(p.camera for p in together)
        agree = sum(n >= (BACK_PACKETS if back else 1) for n in count.values())
        # Of several that send, one alone that goes back delivers what was held up.
        held_up = back and len(count) == 1 and sum(self._alive(s, None) for s in self._state.values()) > 1
        if agree < len(live) // 2 + 1 and (held_up or self._run < BACK_PACKETS * len(self._state)):
            return None
        return together[:-1]

    def goes_on(self, camera: str) -> None:
        """A camera that goes on as before has not jumped: what was held of it came late, or late and twice, or had one wrong stamp."""
        self._run, state = 0, self._state[camera]
        for packet in [p for p in self._suspects if p.camera == camera]:
            self._suspects.remove(packet)
            if packet.stamp_ns in state.recent:
                state.duplicates += 1
            elif state.last_stamp is not None and packet.stamp_ns < state.last_stamp:
                state.late += 1
            else:
                state.bad_stamps += 1

    def _newest(self) -> int | None:
        return max((s.last_stamp for s in self._state.values() if s.last_stamp is not None), default=None)

    def _last_arrival(self) -> int | None:
        return max((s.last_arrival for s in self._state.values() if s.last_arrival is not None), default=None)
