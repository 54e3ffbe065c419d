"""One clock for the streams of a file whose time stamps start again on the way."""

_BACK = 1.0  # seconds by which stamps must run backwards to be those of another clock


class Clock:
    """Moves the packets that come after a restart behind all that came before it.

    Recordings that were joined byte by byte (chained Ogg, MPEG-TS pieces) begin again at 0 in the middle. Sound and
    picture of a piece are moved by one and the same shift, so that they keep their offset.
    """

    def __init__(self) -> None:
        self._shifts = [0.0]  # seconds, of each piece
        self._piece: dict[int, int] = {}  # the piece that a stream is in
        self._last: dict[int, float] = {}  # a stream's stamp before, on the file's own clock
        self._end = 0.0  # where the latest packet ends, on the common clock

    def straighten(self, packet) -> None:  # noqa: ANN001
        """Changes the packet's stamps. Packets come in the file's order."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None or not packet.time_base:
            return
        stream, time = packet.stream.index, float(stamp * packet.time_base)
        piece = self._piece.get(stream, 0)
        if time < self._last.get(stream, time) - _BACK:
            piece += 1
            if piece == len(self._shifts):
                self._shifts.append(self._end - time)
        self._piece[stream], self._last[stream] = piece, time
        shift = self._shifts[piece]
        self._end = max(self._end, time + shift + float((packet.duration or 0) * packet.time_base))
        if ticks := round(shift / packet.time_base):
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
