"""The kit of all pages: contents, pictures and figures that stand in the page."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from datasets.pages.kit import figure, picture, render


@pytest.fixture
def template(tmp_path: Path) -> Path:
    body = (
        '{{ section("First <b>") }}{{ section("What it took", "Cost") }}{{ section("First <b>") }}'
        "{% for plot in plots %}{{ plot }}{% endfor %}"
    )
    head = '{% extends "page.html" %}{% block body %}'
    (tmp_path / "test.html").write_text(head + body + "{% endblock %}")
    return tmp_path


def test_contents_link_to_every_section(template: Path) -> None:
    page = render("test.html", {"title": "t", "plots": []}, [template]).decode()
    nav = re.findall(r"<nav aria-label=\"Contents\">(.*?)</nav>", page, re.DOTALL)
    assert re.findall(r'href="#(.*?)">(.*?)</a>', nav[0]) == [
        ("first-b", "First &lt;b&gt;"),
        ("what-it-took", "Cost"),
        ("first-b-2", "First &lt;b&gt;"),
    ]
    assert re.findall(r'<h2 id="(.*?)">', page) == ["first-b", "what-it-took", "first-b-2"]
    assert "What it took</h2>" in page and "prefers-color-scheme: dark" in page


def test_plotly_comes_with_figures_alone_and_is_whole(template: Path) -> None:
    without = render("test.html", {"title": "t", "plots": []}, [template])
    made = figure(go.Figure(go.Scatter(x=[1], y=[2])), "A point")
    page = render("test.html", {"title": "t", "plots": [made]}, [template]).decode()
    assert len(without) < 20_000 and 1_000_000 < len(page) < 2_500_000
    packed = re.findall(r'<script type="text/plain" id="plotly">(.*?)</script>', page)[0]
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def test_no_text_of_a_figure_is_markup() -> None:
    evil = "</script><script>alert(1)</script>\"'"
    made = go.Figure(go.Scatter(x=[1.5], y=[2], name=evil))
    made.update_layout(xaxis_title=evil)
    text = figure(made, evil)
    assert "<script>alert" not in text and text.count("</script>") == 1
    tree = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', text)[0])
    assert tree["data"][0]["name"] == evil and "template" not in tree["layout"]
    assert "<figcaption>&lt;/script&gt;" in text and 'aria-label="&lt;/script&gt;' in text


def test_large_pictures_are_stored_smaller() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    small = picture(noise[:64, :64], "a <b>")
    assert small.startswith('<img alt="a &lt;b&gt;" src="data:image/png;base64,')
    assert "data:image/webp;base64," in picture(noise, "a") and "data:image/webp" in picture(noise[:64, :64], "a", 0)
