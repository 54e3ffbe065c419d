"""What a media file may ask for, and the refusal of one that asks for more."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may ask for. A file beyond one of them is `too_large` and is not decoded (further)."""

    bytes: int = 4 << 30
    pixels: int = 4096 * 2304
    seconds: float = 900.0
    sample_rate: int = 192_000
    streams: int = 32

    def check_bytes(self, size: int) -> None:
        """Raises Refused for a file of so many bytes."""
        if size > self.bytes:
            raise Refused(f"{size >> 20} MiB, limit {self.bytes >> 20} MiB")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises Refused for a picture of so many pixels."""
        if width * height > self.pixels:
            raise Refused(f"{width}x{height} pixels, limit {self.pixels}")

    def check_seconds(self, seconds: float) -> None:
        """Raises Refused for a file that lasts so long (at least)."""
        if seconds > self.seconds:
            raise Refused(
                f"{seconds:.5g} s, limit {self.seconds:g} s (crops.max_seconds; --max_seconds of experiments.prepare)"
            )

    def check_sample_rate(self, rate: int) -> None:
        """Raises Refused for so many samples a second."""
        if rate > self.sample_rate:
            raise Refused(f"{rate} samples a second, limit {self.sample_rate}")


LIMITS = Limits()


class Refused(Exception):
    """A limit was passed; carries the reason."""
