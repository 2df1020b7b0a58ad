"""Frames as an animated file: WebP, GIF or MP4."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

from PIL import Image

from dmgan.drawing.request import DrawingError

__all__ = ["ANIMATIONS", "animation", "check_animation"]

ANIMATIONS = ("webp", "gif", "mp4")
_RATE = 20  # frames a second
_SMALLEST = 256  # pixels a side: smaller frames are enlarged by a whole number, as players would blur them


def check_animation(format: str) -> None:
    """Raise DrawingError where the format is unknown, or what makes it is not installed."""
    if format not in ANIMATIONS:
        raise DrawingError(f"--format {format}: expected {', '.join(ANIMATIONS)} of an animation")
    if format == "mp4":
        try:
            import av  # noqa: F401
        except ImportError:
            raise DrawingError("--format mp4: PyAV is not installed; pip install 'av', or choose webp or gif") from None


def animation(frames: Iterator[Image.Image], format: str) -> bytes:
    """The file of the frames, 20 a second, shown again and again. Raises DrawingError as `check_animation`."""
    check_animation(format)
    enlarged = map(_enlarged, frames)
    return _mp4(enlarged) if format == "mp4" else _looped(enlarged, format)


def _enlarged(frame: Image.Image) -> Image.Image:
    times = -(-_SMALLEST // frame.width)
    return frame.resize((frame.width * times, frame.height * times), Image.Resampling.NEAREST)


def _looped(frames: Iterator[Image.Image], format: str) -> bytes:
    buffer, first = io.BytesIO(), next(frames)
    options = {"quality": 90} if format == "webp" else {}
    first.save(buffer, format.upper(), save_all=True, append_images=frames, duration=1000 // _RATE, loop=0, **options)
    return buffer.getvalue()


def _mp4(frames: Iterator[Image.Image]) -> bytes:
    import av

    buffer, first = io.BytesIO(), next(frames)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        stream.time_base = Fraction(1, _RATE)
        for frame in chain([first], frames):
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return buffer.getvalue()
