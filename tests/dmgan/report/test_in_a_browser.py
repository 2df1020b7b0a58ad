"""The run's report as a browser shows it: the slider by keyboard, light and dark, on a phone and on a wide screen."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
from playwright.sync_api import Page

from datasets import storage
from datasets.pages.kit import figure, render
from dmgan.report.page import TEMPLATES
from dmgan.report.pictures import timeline
from dmgan.runs.run import Run
from dmgan.runs.samples import caption_grid
from tests.cluster.serving.browser import CHROMIUM, browser, page

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: apt-get install chromium")
BODY = '{% extends "page.html" %}{% block body %}<style>{% include "run.css" %}</style>'


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sections that scripts work on: samples of steps 10 to 50, and a figure."""
    folder = tmp_path_factory.mktemp("page")
    run = Run(str(folder / "run"))
    for step in range(10, 60, 10):
        grid = caption_grid(["one", "two"], [[np.full((16, 16, 3), step, np.uint8)]] * 2)
        storage.write_bytes(run.path("samples", f"step_{step:08d}.png"), grid)
    steps, note = timeline(run, 16)
    plot = figure(go.Figure(go.Scatter(x=[1, 2], y=[3, 4])), "A line")
    body = BODY + '{{ section("First") }}{{ plot }}{% include "timeline.html" %}{% endblock %}'
    (folder / "test.html").write_text(body)
    context = {"title": "t", "timeline": steps, "timeline_note": note, "plot": plot}
    (folder / "page.html").write_bytes(render("test.html", context, [folder, TEMPLATES]))
    return f"file://{folder / 'page.html'}"


def shown(tab: Page) -> tuple[list[int], str]:
    """The frames that are seen of each caption, by their number, and what is said of the step."""
    frames = tab.evaluate(
        "[...document.querySelectorAll('.frame')].map(f => [...f.children].findIndex(image => image.offsetWidth))"
    )
    return frames, tab.locator("output").inner_text()


def test_the_keyboard_moves_through_the_steps(location: str) -> None:
    with browser() as chromium, page(chromium, 400) as tab:
        tab.goto(location)
        assert shown(tab) == ([4, 4], "step 50")
        slider = tab.get_by_role("slider", name="training step")
        for key, expected in (("ArrowLeft", (3, "step 40")), ("Home", (0, "step 10")), ("ArrowRight", (1, "step 20"))):
            slider.press(key)
            assert shown(tab) == ([expected[0]] * 2, expected[1])
        assert slider.get_attribute("aria-valuetext") == "step 20"
        tab.get_by_role("button", name="Play").press("Enter")
        tab.wait_for_function("document.querySelector('output').textContent === 'step 50'")
        assert shown(tab) == ([4, 4], "step 50") and tab.get_by_role("button", name="Play").is_visible()


@pytest.mark.parametrize("width", [400, 1920])
def test_figures_take_the_colours_of_the_page(location: str, width: int) -> None:
    colours = []
    with browser() as chromium, page(chromium, width) as tab:
        tab.goto(location)
        tab.wait_for_function("plotted.then(() => true)")
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page_colour = "getComputedStyle(document.body).color"
            tab.wait_for_function(f"getComputedStyle(document.querySelector('.xtick text')).fill === {page_colour}")
            colours.append(tab.evaluate(page_colour))
        assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert tab.locator(".js-plotly-plot").count() == 1
    assert len(set(colours)) == 2
