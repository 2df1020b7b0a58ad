"""The page as people use it: `test_service` runs these steps against its service."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.cluster.serving.browser import page
from tests.cluster.serving.service import TOKEN, Service, pixels

CAPTION = "this bird is red with black wings"


def open_page(tab: Page, address: str) -> None:
    """With a token that is wrong at first."""
    tab.goto(address)
    for token in ("a-wrong-token-of-the-tests", TOKEN):
        tab.get_by_role("textbox", name="Token").fill(token)
        with tab.expect_response("**/v1/models"):
            tab.get_by_role("button", name="Continue").click()
    expect(tab.locator("#door")).to_be_hidden()


def stages(tab: Page, drawing: int = 0) -> list[np.ndarray]:
    sources = tab.locator(".drawing").nth(drawing).locator(".stages img").evaluate_all("all => all.map(i => i.src)")
    return [pixels(base64.b64decode(source.partition(",")[2])) for source in sources]


def write_and_draw(tab: Page) -> None:
    """Completions by keyboard, the warning of an unknown word, and the drawing of what is left."""
    tab.get_by_label("Caption").press_sequentially("this zyzzyva bird is re")
    expect(tab.get_by_role("option", name="red", exact=True)).to_be_visible()
    expect(tab.locator("#reading")).to_have_text("Not in the vocabulary, and left out: zyzzyva.")
    names = tab.get_by_role("option").all_text_contents()
    for _ in range(names.index("red") + 1):
        tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    expect(tab.get_by_label("Caption")).to_have_value("this zyzzyva bird is red ")
    tab.keyboard.type("with black wings")
    tab.keyboard.press("Escape")
    tab.keyboard.press("Enter")
    expect(tab.locator(".drawing")).to_have_count(1)
    assert tab.locator(".word").evaluate_all("all => all.map(w => w.firstChild.textContent)") == CAPTION.split()
    expect(tab.locator(".meta")).to_contain_text("not read: zyzzyva")
    assert [stage.shape for stage in stages(tab)] == [(16, 16, 3), (32, 32, 3), (64, 64, 3)]


def see_what_words_did(tab: Page, service: Service) -> None:
    """By mouse, by keyboard and by tapping: the veil is the attention, the bars are the gates."""
    caption = "this zyzzyva bird is red with black wings"
    (image,) = service.post(captions=[caption], details=True).json()["images"]
    word = image["words"].index("red")
    shown = tab.locator("canvas.shown")
    tab.locator(".word").nth(word).hover()
    expect(shown).to_have_count(2)
    expect(tab.locator(".readout")).to_contain_text("“red”")
    for i, refinement in enumerate(image["refinements"]):
        height, width = refinement["size"]
        maps = pixels(base64.b64decode(refinement["attention"])).reshape(-1, height, width)[word]
        veil = shown.nth(i).evaluate("c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
        opaque = np.asarray(veil).reshape(height, width, 4)[..., 3] / 255
        assert np.abs(opaque - 0.86 * (1 - maps / max(1, maps.max()))).max() < 0.01
        bar = tab.locator(".word").nth(word).locator(".gate i").nth(i)
        percent = float(bar.evaluate("bar => parseFloat(bar.style.width)"))
        assert abs(percent - 100 * refinement["writing_gates"][word]) < 0.1
    tab.locator(".caption").hover()
    expect(shown).to_have_count(0)
    tab.locator(".word").first.focus()
    tab.keyboard.press("ArrowRight")
    expect(tab.locator(".readout")).to_contain_text("“bird”")
    tab.keyboard.press("Enter")
    expect(tab.locator(".word").nth(1)).to_have_attribute("aria-pressed", "true")
    tab.keyboard.press("Escape")
    tab.get_by_role("button", name="Draw", exact=True).focus()
    expect(shown).to_have_count(0)


def compare_noises_and_models(tab: Page) -> None:
    """Another noise by its key, the first one kept beside it, the other model, and back from the history."""
    first = stages(tab)[-1]
    tab.get_by_role("button", name="Keep to compare").click()
    tab.keyboard.press("r")
    expect(tab.locator(".drawing")).to_have_count(2)
    expect(tab.locator(".meta").first).to_contain_text("noise 1")
    assert np.array_equal(stages(tab, 1)[-1], first)
    assert np.abs(stages(tab, 0)[-1].astype(int) - first).max() > 50
    tab.get_by_label("two").check(force=True)
    tab.get_by_role("button", name="Draw", exact=True).click()
    expect(tab.locator(".drawing")).to_have_count(3)
    assert [text.split(" · ")[0] for text in tab.locator(".meta").all_text_contents()] == ["one", "two", "one"]
    expect(tab.locator(".card")).to_have_count(4)
    tab.locator(".card").last.click()
    expect(tab.locator(".meta").first).to_contain_text("one · step 1 · noise 0")
    assert np.array_equal(stages(tab)[-1], first)


def take_it_away(tab: Page, of: Browser, address: str, folder: Path) -> None:
    """The file, and a link that draws the picture again in another tab, on a phone."""
    with tab.expect_download() as download:
        tab.get_by_role("link", name="Download").first.click()
    assert download.value.suggested_filename == "this-zyzzyva-bird-is-red-with-black-wings-one-seed0-noise0.png"
    file = folder / "picture.png"
    download.value.save_as(file)
    picture = np.asarray(Image.open(io.BytesIO(file.read_bytes())))
    assert np.array_equal(picture, stages(tab)[-1])
    link = tab.evaluate("location.href")
    assert link.startswith(address) and "seed=0" in link and "number=0" in link and "model=one" in link
    with page(of, width=400) as phone:
        open_page(phone, link)
        expect(phone.locator(".drawing")).to_have_count(1)
        assert np.abs(stages(phone)[-1].astype(int) - picture).max() <= 1
        assert phone.evaluate("document.documentElement.scrollWidth") <= 400
