"""What pages are made of: templates, pictures and figures that stand in the page itself.

Every page extends `templates/page.html`, which holds style, scripts and Plotly; nothing is fetched when it is read.
Templates escape whatever is not `Markup`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

__all__ = ["LAYOUT", "figure", "percent", "picture", "render"]

_TEMPLATES = Path(__file__).parent / "templates"
LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
    "font": {"size": 13},
    "height": 380,
    "autosize": True,
    "legend": {"orientation": "h", "yanchor": "top", "y": -0.22},
}


def render(template: str, context: Mapping[str, object], folders: Sequence[Path] = ()) -> bytes:
    """A page from a template of the kit or of `folders`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["plotly"] = Markup(get_plotlyjs())
    return environment.get_template(template).render(context).encode()


def picture(image: np.ndarray | bytes, label: str) -> Markup:
    """uint8 pixels (H, W, 3), or a JPEG's bytes, as an <img> without a file; `label` is read where it is not seen."""
    kind, content = ("jpeg", image) if isinstance(image, bytes) else ("png", _png(image))
    data = base64.b64encode(content).decode()
    return Markup('<img alt="{}" src="data:image/{};base64,{}">').format(label, kind, data)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def figure(made: go.Figure) -> Markup:
    """An interactive figure."""
    options = {"responsive": True, "displaylogo": False}
    return Markup(made.to_html(full_html=False, include_plotlyjs=False, config=options))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
