"""What a task did, and a human who lets a suspended one go on."""

import time

from console_kit import Browser, grant

from authz.stores.database.spending import Mark

NOBODY = "spiffe://demo.internal/ns/agents/sa/nobody"


async def suspend(world, task, principal=""):
    now = time.time()
    key = f"{task} {principal}" if principal else task
    spending = world.shared.store.spending
    await spending.mark(Mark(task=key, kind="suspended", value="", at=now, until=now + 3_600))
    await spending.mark(Mark(task=key, kind="label", value="<b>secret", at=now, until=now + 3_600))
    return key


async def suspended(world, key):
    return [mark for mark in await world.shared.store.spending.marks_of(key) if mark.kind == "suspended"]


async def test_a_task_tells_what_it_did_and_an_operator_has_it_go_on(browser, world, provider):
    task = (await grant(world)).grant.task.id
    assert "0 allowed, 0 denied" in (await sign_in(browser, "omar", f"/tasks/{task}"))
    key = await suspend(world, task)
    page = (await browser.get(f"/tasks/{task}")).text
    assert "&lt;b&gt;secret" in page
    assert "Suspended until" in page
    assert task in (await browser.get("/tasks?state=suspended")).text
    async with Browser(world, provider) as other:
        assert "needs the role operator" in await sign_in(other, "vera", f"/tasks/{task}")
        assert (await other.post(f"/tasks/{task}/resume", reason="x")).status_code == 403
    assert (await browser.post(f"/tasks/{task}/resume", csrf="", reason="x")).status_code == 403
    assert (await browser.post(f"/tasks/{task}/resume", reason="")).status_code == 400
    answer = await browser.post(f"/tasks/{task}/resume", reason="looked at it")
    assert "waits for a second person" in answer.text
    assert await suspended(world, key)
    async with Browser(world, provider) as second:
        await sign_in(second, "sam", "/changes")
        waiting = (await second.get("/changes")).text.partition("/changes/")[2].partition("/confirm")[0]
        assert (await second.post(f"/changes/{waiting}/confirm")).status_code == 303
    assert not await suspended(world, key)
    assert "Suspended until" not in (await browser.get(f"/tasks/{task}")).text
    assert task not in (await browser.get("/tasks?state=suspended")).text


async def test_a_task_that_is_only_said_to_be_one_has_a_page_too(browser, world):
    await suspend(world, "t/said", NOBODY)
    await browser.sign_in("vera")
    listed = (await browser.get("/tasks?state=suspended")).text
    link = listed.partition('href="/tasks/t/said')[2].partition('"')[0]
    page = await browser.get(f"/tasks/t/said{link}")
    assert page.status_code == 200
    assert "only they say so" in page.text
    assert NOBODY in page.text
    assert (await browser.get("/tasks/t/said")).status_code == 404


async def sign_in(browser, user, path):
    await browser.sign_in(user, "/policy")
    answer = await browser.get(path)
    assert answer.status_code == 200, answer.text
    return answer.text
