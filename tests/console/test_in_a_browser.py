"""The console in a real Chromium: by keyboard, with and without scripts, axe finds nothing, no page breaks its policy.

`AUTHZ_SCREENSHOTS=docs/images pytest tests/console/test_in_a_browser.py` makes the pictures of docs/console.md.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest
from approval_kit import BODY, until
from axe_playwright_python.async_playwright import Axe
from console_kit import GRANTS, grant
from control_kit import RESEARCHER
from playwright.async_api import expect

from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Permission

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
ALL_RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    # What is right need not be told in detail, which takes most of the time.
    "resultTypes": ["violations"],
}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}, "resultTypes": ["violations"]}
AXE = Axe().axe_script
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> \u202egnp.exe pаyer"


async def problems(page, options=ALL_RULES):
    await page.evaluate(AXE)
    found = await page.evaluate(
        "async options => { const done = await axe.run(document, options);"
        " return [done.violations, done.passes.length]; }",
        options,
    )
    violations, passed = found
    assert passed, "it looked at nothing"
    return [(each["id"], each["help"], [node["html"][:200] for node in each["nodes"]]) for each in violations]


async def picture(page, name):
    directory = os.environ.get("AUTHZ_SCREENSHOTS")
    if directory:
        await page.screenshot(path=Path(directory) / f"console-{name}.png", animations="disabled", full_page=True)


def body(**changes):
    return json.dumps({**json.loads(BODY), **changes}).encode()


async def call(world, **changes):
    """Let a request wait; answer its id."""
    return (await world.plane.ask(body(**changes), x_task_id="t-invoices", x_task_purpose="pay the invoices of May")).id


async def chain(world):
    """A task that was handed on, and a grant of it that was revoked; answer the task's id."""
    first = await grant(world, purpose="answer the auditors")
    researcher = await world.as_(RESEARCHER)
    narrower = [Permission(actions=["GET"], locations=["*"], resources=["/v1/accounts/7"])]
    for _ in range(2):
        handed = await researcher.call(
            GRANTS, "Exchange", grants_pb2.ExchangeRequest(subject_token=first.token, permissions=narrower)
        )
    request = grants_pb2.RevokeRequest(grant_id=handed.grant.id, reason="one too many")
    await world.alice.call(GRANTS, "Revoke", request)
    return first.grant.task.id, first.grant.id


async def test_every_page_is_accessible_and_keeps_its_own_policy(visitor, world):
    approval = await call(world, amount=12_500, note="April and May")
    task, granted = await chain(world)
    world.plane.checker.check(world.plane.message(path="/v1/accounts/7", method="GET", body=b""), 5.0)
    page = await visitor("sam", "/decisions")
    decision = await page.locator("#live tbody a").first.get_attribute("href")
    pages = {
        "/approvals": "inbox",
        f"/approvals/{approval}": "approval",
        "/decisions": "decisions",
        decision: "decision",
        "/tasks": "tasks",
        f"/tasks/{task}": "task",
        "/grants": "grants",
        f"/grants/{granted}": "grant",
        "/changes": "changes",
        "/policy": "policy",
        "/policy?files=1": "",
        "/lockdown": "kill-switch",
        "/nothing": "",
        "/approvals/nothing": "",
        "/signin": "sign-in",
        "/login/callback": "",
    }
    page.problems.clear()
    for path, name in pages.items():
        answer = await page.goto(path)
        assert await page.title() != "", path
        assert await page.locator("h1").count() == 1, path
        assert await problems(page) == [], path
        if name:
            await picture(page, name)
        if answer.ok:
            assert page.problems == [], path
        page.problems.clear()
    # All colours that there are stand on these.
    await page.emulate_media(color_scheme="dark")
    for path in (f"/approvals/{approval}", decision, f"/tasks/{task}"):
        await page.goto(path)
        assert await problems(page, COLOURS) == [], path


async def test_a_human_approves_by_keyboard_and_the_call_passes_once(visitor, world):
    approval = await call(world, amount=777)
    page = await visitor("ada", f"/approvals/{approval}")
    await page.get_by_label("Comment, for the record").focus()
    await page.keyboard.type("invoice 777 is right")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Space")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.get_by_text("Who has spoken").wait_for()
    assert "invoice 777 is right" in await page.inner_text("main")
    assert (
        await world.plane.ask(body(amount=777), x_task_id="t-invoices", x_task_purpose="pay the invoices of May")
    ).allowed
    assert (await call(world, amount=777)) != approval
    assert page.problems == []


async def test_without_the_tick_the_browser_itself_does_not_send(visitor, world):
    approval = await call(world, amount=778)
    page = await visitor("ada", f"/approvals/{approval}")
    await page.get_by_role("button", name="Approve").click()
    assert page.url.endswith(f"/approvals/{approval}")
    assert await page.locator("#confirm:invalid").count() == 1
    assert (await world.shared.store.approval(approval)).approval.state == "open"


async def test_live_decisions_are_counted_and_shown_as_they_come(visitor, world):
    page = await visitor("vera", "/decisions")
    await page.get_by_text("Live. Counted since").wait_for()
    hostile = world.plane.message(path="/v1/accounts/" + "a" * 40, method="GET", body=b"", host="bank.demo.internal")
    for _ in range(500):
        world.plane.checker.check(hostile, 5.0)
    await expect(page.locator("#denied")).to_have_text("500", timeout=60_000)
    assert await page.locator("#live tbody tr").count() <= 100
    await page.get_by_role("button", name="Pause").click()
    await page.get_by_role("button", name="Go on").wait_for()
    assert page.problems == []
    await until(lambda: not [each for each in world.decisions._followers if type(each).__name__ == "Sampler"])


async def test_pages_work_without_scripts(visitor, world):
    world.plane.checker.check(world.plane.message(path="/v1/accounts/7", method="GET", body=b""), 5.0)
    page = await visitor("vera", "/decisions", java_script_enabled=False)
    assert await page.locator("#live tbody tr").count() > 0
    await page.get_by_label("Effect").select_option("deny")
    await page.get_by_role("button", name="Filter").click()
    assert "effect=deny" in page.url
    await page.locator("#live tbody a").first.click()
    assert await page.get_by_role("heading", name="The rules that came near").count() == 1


async def test_what_others_wrote_does_nothing_in_a_browser(visitor, world):
    approval = await call(world, amount=779, note=HOSTILE)
    made = (await grant(world, purpose=HOSTILE.replace("\u202e", "").replace("а", "a"))).grant
    page = await visitor("ada", f"/approvals/{approval}")
    for path in (f"/approvals/{approval}", "/approvals", "/tasks", f"/tasks/{made.task.id}", f"/grants/{made.id}"):
        await page.goto(path)
        assert await page.locator("main img, main script").count() == 0, path
        assert "owned" not in await page.title()
        assert page.problems == []
    await page.goto(f"/approvals/{approval}")
    await picture(page, "hostile")


async def test_the_kill_switch_wants_a_word_typed_and_ends_with_a_second_person(visitor, world):
    page = await visitor("omar", "/lockdown")
    await page.get_by_label("Reason, for the record").fill("a key was found in a log")
    await page.get_by_label("Type LOCKDOWN to confirm").fill("yes")
    await page.get_by_role("button", name="Start the lockdown").click()
    assert await world.shared.store.break_glass() is None
    await page.get_by_label("Type LOCKDOWN to confirm").fill("LOCKDOWN")
    await page.get_by_role("button", name="Start the lockdown").click()
    await page.get_by_text("A lockdown is in force").wait_for()
    assert await problems(page) == []
    await picture(page, "lockdown")
    assert (await world.plane.ask(path="/v1/accounts/7", method="GET", body=b"")).reason == "break_glass"
    await page.get_by_label("Reason, for the record").fill("the key is rotated")
    await page.get_by_label("Type LOCKDOWN to confirm").fill("LOCKDOWN")
    await page.get_by_role("button", name="End the lockdown").click()
    await page.get_by_text("waits for a second person").wait_for()
    await page.goto("/changes")
    assert await page.get_by_text("You asked for it, so another person has to confirm it.").count() == 1
    other = await visitor("sam", "/changes")
    assert await problems(other) == []
    await picture(other, "change")
    await other.get_by_role("button", name="Confirm").click()
    await other.get_by_text("None waits.").wait_for()
    assert await world.shared.store.break_glass() is None


async def test_a_form_of_another_site_does_nothing_even_with_a_session(visitor, world, chromium):
    """A real page at another origin posts a form, and frames the console."""
    made = (await grant(world)).grant
    page = await visitor("omar", "/grants")
    base = page.url.partition("/grants")[0]
    evil = (
        f"<form method=post action='{base}/grants/{made.id}/revoke'><input name=reason value=x>"
        f"<input name=csrf value=x></form><iframe src='{base}/grants'></iframe>"
    )
    other = await page.context.new_page()
    refused = []
    other.on("response", lambda answer: refused.append((answer.request.method, answer.status)))
    await other.route("http://evil.example/*", lambda route: route.fulfill(body=evil, content_type="text/html"))
    await other.goto("http://evil.example/")
    framed = await other.frames[1].evaluate("document.body ? document.body.innerText : ''")
    assert "Grants" not in framed  # the browser's own page stands there
    await other.evaluate("document.forms[0].submit()")
    await other.wait_for_load_state()
    async with asyncio.timeout(30):
        while ("POST", 401) not in refused and ("POST", 403) not in refused:
            await asyncio.sleep(0.02)
    assert (await world.shared.store.grant(made.id)).state == "active"
