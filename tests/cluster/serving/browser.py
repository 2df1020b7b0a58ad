"""Debian's Chromium, where there is one, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in _NAMES if (found := shutil.which(name))), "")
_PATIENCE = 120_000.0  # ms, of a machine that does much else


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield found
        finally:
            found.close()


@contextmanager
def page(of: Browser, width: int = 1200) -> Iterator[Page]:
    """A tab in which nothing may be written to the console: no error, no refusal of the content security policy."""
    context = of.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)
    tab = context.new_page()
    tab.set_default_timeout(_PATIENCE)
    expect.set_options(timeout=_PATIENCE)
    said: list[str] = []
    # A refused token is an answer that the browser notes too.
    tab.on("console", lambda message: said.append(message.text) if "401" not in message.text else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    try:
        yield tab
        assert not said, said
    finally:
        context.close()
