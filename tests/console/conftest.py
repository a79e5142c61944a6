"""One provider, one console and one browser for all tests here: what starts slowly starts once."""

import sys
from pathlib import Path

import pytest
import pytest_asyncio

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "unit" / "identity")]

from chromium import running  # noqa: E402
from console_kit import Browser, ToldPlane, console_world, handing_on, origin, payments_policy  # noqa: E402
from control_kit import Pki  # noqa: E402
from oidc_provider import PASSWORD, Provider  # noqa: E402


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.get_closest_marker("asyncio") is not None:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def provider():
    with Provider.running() as running:
        yield running


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("console-pki"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world(tmp_path_factory, pki, provider):
    made = console_world(tmp_path_factory.mktemp("console"), pki, provider, files=payments_policy(), rules=handing_on())
    async with made.serving() as serving:
        serving.plane = ToldPlane(serving)
        provider.redirects_to(f"{origin(serving)}/login/callback")
        yield serving


@pytest_asyncio.fixture(loop_scope="session")
async def browser(world, provider):
    async with Browser(world, provider) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium():
    async with running() as started:
        yield started


@pytest.fixture(scope="session")
def signed_in():
    """The cookies of those who have signed in with the browser: it takes long, so each does it once."""
    return {}


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(chromium, world, provider, signed_in):
    """Answer a function that opens a page on which a person has signed in, each in a browser profile of its own.

    The first of all signs in by the provider's pages in that browser; those after bring a cookie along.
    """
    contexts = []

    def is_our_problem(said):
        # The provider's pages have problems of their own: what they are made of is not always found at their first use.
        return said.type in {"error", "warning"} and not said.location["url"].startswith(provider.issuer)

    async def visit(user=None, path="/policy", **options):
        context = await chromium.new_context(
            base_url=origin(world), ignore_https_errors=True, viewport={"width": 1280, "height": 800}, **options
        )
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = await context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda said: page.problems.append(said.text) if is_our_problem(said) else None)
        if user and signed_in and user not in signed_in:
            async with Browser(world, provider) as client:
                await client.sign_in(user)
                cookies = client.client.cookies.jar
                signed_in[user] = [{"name": c.name, "value": c.value, "url": origin(world)} for c in cookies]
        if user in signed_in:
            await context.add_cookies(signed_in[user])
            await page.goto(path)
        elif user:
            await page.goto(path)
            await page.get_by_role("link", name="Sign in").click()
            await page.locator('input[name="login"]').fill(user)
            await page.locator('input[name="login"]').press("Enter")
            await page.locator('input[name="password"]').fill(PASSWORD)
            await page.locator('input[name="password"]').press("Enter")
            await page.wait_for_url(f"**{path}")
            signed_in[user] = await context.cookies(page.url)
        return page

    yield visit
    for context in contexts:
        await context.close()


@pytest.fixture
def alone(tmp_path, provider):
    """Answer a function that makes a console of its own, for what cannot be tried on the one that all share."""

    def make(running=provider, **changes):
        directory = tmp_path / "alone"
        directory.mkdir()
        return console_world(directory, Pki(directory), running, **changes)

    return make
