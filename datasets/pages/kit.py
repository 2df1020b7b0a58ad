"""What pages are made of: templates, pictures and figures that stand in the page itself.

Every page extends `templates/page.html`, which holds style and scripts, in light and dark; nothing is fetched when it
is read. Its contents are the headings that its template makes with `section`. Plotly is in pages that have a
figure, compressed to two fifths. Templates escape whatever is not `Markup`.
"""

from __future__ import annotations

import base64
import gzip
import io
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs

__all__ = ["LAYOUT", "PALETTE", "figure", "percent", "picture", "render"]

_TEMPLATES = Path(__file__).parent / "templates"
_CONTENTS, _PLOTLY = "<!-- contents -->", "<!-- plotly -->"  # in page.html; in nobody's text, where < is escaped
# Told apart on light and on dark pages.
PALETTE = ("#3b7dd8", "#e0752f", "#2f9e6e", "#b45fcf", "#d14d6a", "#8c8a1f", "#1b9bb3", "#a06a4a", "#6f7be0", "#7d8a99")
LAYOUT: dict[str, Any] = {
    "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
    "height": 340,
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
    contents = _Contents()
    environment.globals |= {"section": contents.section, "palette": PALETTE}
    page = environment.get_template(template).render(context)
    page = page.replace(_CONTENTS, contents.links(), 1)
    return page.replace(_PLOTLY, _plotly() if 'class="plot"' in page else "", 1).encode()


class _Contents:
    """The headings of a page, in their order."""

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}  # by id

    def section(self, title: str, short: str | None = None) -> Markup:
        """A heading that the contents list, under a shorter name if it has one."""
        name = plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        number = 1
        while name in self._titles:
            number += 1
            name = f"{plain}-{number}"
        self._titles[name] = title if short is None else short
        return Markup('<h2 id="{}">{}</h2>').format(name, title)

    def links(self) -> Markup:
        """Empty where there is nothing to choose from."""
        if len(self._titles) < 2:
            return Markup()
        links = (Markup('<a href="#{}">{}</a>').format(name, title) for name, title in self._titles.items())
        return Markup('<nav aria-label="Contents">{}</nav>').format(Markup("\n").join(links))


@lru_cache(maxsize=1)
def _plotly() -> str:
    """Plotly for page.js to unpack: 2 MB in place of 4.8."""
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
    return f'<script type="text/plain" id="plotly">{packed}</script>'


def picture(image: np.ndarray | bytes, label: str, lossless: int = 96) -> Markup:
    """uint8 pixels (H, W, 3), or a JPEG's bytes, as an <img> without a file; `label` is read where it is not seen.

    A picture of more than `lossless` pixels a side is stored as WebP, which a page with many of them needs.
    """
    kind, content = ("jpeg", image) if isinstance(image, bytes) else _encoded(image, lossless)
    data = base64.b64encode(content).decode()
    return Markup('<img alt="{}" src="data:image/{};base64,{}">').format(label, kind, data)


def _encoded(pixels: np.ndarray, lossless: int) -> tuple[str, bytes]:
    buffer = io.BytesIO()
    if max(pixels.shape[:2]) <= lossless:
        Image.fromarray(pixels).save(buffer, "PNG")
        return "png", buffer.getvalue()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=80)
    return "webp", buffer.getvalue()


def figure(made: go.Figure, caption: str, *, wide: bool = False) -> Markup:
    """An interactive figure under its caption, in the page's colours; page.js draws it.

    A `wide` one is scrolled on a narrow screen rather than squeezed.
    """
    tree = made.to_plotly_json()
    tree["layout"].pop("template", None)  # the page has one for light and one for dark
    # No text in it can end the script element.
    content = str(to_json_plotly(tree)).replace("<", "\\u003c")
    place = Markup('<div class="plot" role="img" aria-label="{}"><script type="application/json">{}</script></div>')
    return Markup('<figure class="{}"><figcaption>{}</figcaption>{}</figure>').format(
        "chart wide" if wide else "chart", caption, place.format(caption, Markup(content))
    )


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
