"""The human of the story: signs in at the company's OpenID provider and says yes in the console, in a real browser.

Where there is no Chromium on the machine, the same pages are asked for and the same form is sent by an HTTP client.
"""

import asyncio
import importlib.util
import re
import shutil
import ssl
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
from oidc_provider import PASSWORD, Provider

if TYPE_CHECKING:
    from playwright.async_api import Page

USER = "ada"
_TIMEOUT_SECONDS = 60.0
_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
_FORM = re.compile(r'<form\b[^>]*action="([^"]*)"[^>]*>(.*?)</form>', re.DOTALL)
_FIELD = re.compile(r'name="([^"]+)"[^>]*value="([^"]*)"')


class Approver:
    """A person in the group that the rule names."""

    def __init__(self, console: str, provider: Provider, ca: Path) -> None:
        """`console`: its origin."""
        self._console = console
        self._provider = provider
        self._ca = ca

    async def approve(self, approval: str, comment: str) -> str:
        """Approve what waits under an id; answer with what."""
        browser = shutil.which("chromium") or shutil.which("chromium-browser")
        if browser and importlib.util.find_spec("playwright"):
            await self._in_a_browser(browser, approval, comment)
            return "a real browser"
        await self._by_http(approval, comment)
        return "an HTTP client, for there is no Chromium here"

    async def _in_a_browser(self, executable: str, approval: str, comment: str) -> None:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - only where there is a browser

        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))
            try:
                page = await browser.new_page(ignore_https_errors=True)  # its own authority signed the console's
                page.set_default_timeout(_TIMEOUT_SECONDS * 1000)
                await page.goto(f"{self._console}/login?next=/approvals/{approval}")
                while not page.url.startswith(self._console):
                    await self._at_provider(page)
                await page.get_by_label("Comment, for the record").fill(comment)
                await page.locator("#confirm").check()
                await page.get_by_role("button", name="Approve").click()
                await page.get_by_text("Who has spoken").wait_for()
            finally:
                await browser.close()

    async def _at_provider(self, page: "Page") -> None:
        for name, value in (("login", USER), ("password", PASSWORD)):
            field = page.locator(f'input[name="{name}"]')
            if await field.count():
                await field.fill(value)
                async with page.expect_navigation():
                    await field.press("Enter")
                return
        async with page.expect_navigation():
            await page.locator('button[name="answer"][value="accept"]').click()

    async def _by_http(self, approval: str, comment: str) -> None:
        context = ssl.create_default_context(cafile=self._ca)
        context.check_hostname = False
        path = f"/approvals/{approval}"
        async with httpx.AsyncClient(base_url=self._console, verify=context, timeout=_TIMEOUT_SECONDS) as client:
            begun = await client.get("/login", params={"next": path})
            back = urlsplit(await asyncio.to_thread(self._sign_in, begun.headers["location"]))
            await client.get(f"{back.path}?{back.query}")
            page = (await client.get(path)).text
            form = next(body for action, body in _FORM.findall(page) if action.endswith("/approve"))
            fields = {name: unescape(value) for name, value in _FIELD.findall(form)}
            fields |= {"comment": comment, "confirm": "yes"}
            answer = await client.post(f"{path}/approve", data=fields, headers={"origin": self._console})
            if answer.status_code >= httpx.codes.BAD_REQUEST:
                raise RuntimeError(f"the console says {answer.status_code}")

    def _sign_in(self, url: str) -> str:
        with httpx.Client(timeout=_TIMEOUT_SECONDS) as client:
            return self._provider.sign_in(client, url, USER)
