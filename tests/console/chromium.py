"""A real browser: Debian's Chromium, driven by Playwright."""

import contextlib
import os
import shutil

import pytest

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=LocalNetworkAccessChecks",  # it would keep a test's evil page from trying
)


def path():
    """Answer where Chromium is; without it a test is skipped, and in CI it fails."""
    for name in ("chromium", "chromium-browser"):
        if found := shutil.which(name):
            return found
    reason = "no Chromium: install Debian's package chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    return pytest.skip(reason)


@contextlib.asynccontextmanager
async def running():
    """Run one for the length of a block."""
    executable = path()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
        try:
            yield browser
        finally:
            await browser.close()
