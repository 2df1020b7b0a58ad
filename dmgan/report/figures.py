"""What pages are made of: pictures and figures that stand in the page itself."""

from __future__ import annotations

import base64
import html
import io

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from dmgan.pixels import png

__all__ = ["percent", "picture", "svg"]


def picture(pixels: np.ndarray, label: str) -> str:
    """uint8 pixels (H, W, 3) as an <img> without a file; `label` is read where it is not seen."""
    data = base64.b64encode(png(pixels)).decode()
    return f"<img alt='{html.escape(label, quote=True)}' src='data:image/png;base64,{data}'>"


def svg(figure: Figure) -> str:
    """The figure as <svg>, and closed."""
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
