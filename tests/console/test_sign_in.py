"""Who comes in, and who does not."""

import json
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from console_kit import Browser, origin
from oidc_provider import OTHER_CLIENT

from authz.console.account import local_path
from authz.console.login import Logins
from authz.model import Kind

PAGES = ("/approvals", "/decisions", "/tasks", "/grants", "/changes", "/policy", "/lockdown")


async def test_a_human_signs_in_by_code_and_pkce_and_sees_pages(browser, world):
    answer = await browser.get("/policy")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/signin?next=%2Fpolicy"
    asked = parse_qs(urlsplit(await browser.begin()).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"{origin(world)}/login/callback"]
    assert len(asked["nonce"][0]) >= 43
    assert len(asked["state"][0]) >= 43
    answer = await browser.sign_in("omar", "/tasks")
    assert answer.status_code == 200
    assert 'content="0;url=/tasks"' in answer.text
    for path in PAGES:
        page = await browser.get(path)
        assert page.status_code == 200, (path, page.text)
        assert "Omar Operator" in page.text


async def test_the_sign_in_is_on_record_as_a_humans(browser, world):
    await browser.sign_in("omar")
    [record] = [each for each in world.trail.outcomes if each.call.method == "control:console.sign_in"][-1:]
    assert record.decision.allowed
    assert record.subject.kind is Kind.HUMAN
    assert record.subject.id == f"operator:{browser.provider.issuer}#omar"
    assert record.subject.credential.kind == "oidc"


async def test_who_is_signed_in_is_known_by_name_until_they_go(browser, world, provider):
    name = f"{provider.issuer}#gina"
    callers = world.server._callers
    await browser.sign_in("gina")
    found = callers.signed_in(name)
    assert (found.operator, found.transport, found.groups) == (name, "console", ("viewers",))
    assert callers.signed_in("gina") is None
    await browser.post("/logout")
    assert callers.signed_in(name) is None


async def test_cookies_are_for_this_host_alone_and_no_script(browser):
    begun = await browser.get("/login")
    [login] = begun.headers.get_list("set-cookie")
    answer = await browser.sign_in("omar")
    session = next(each for each in answer.headers.get_list("set-cookie") if each.startswith("__Host-authz-session="))
    for cookie, same_site in ((login, "lax"), (session, "strict")):
        assert cookie.startswith("__Host-")
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"secure", "httponly", "path=/", f"samesite={same_site}"} <= parts
        assert not any(part.startswith("domain") for part in parts)


async def test_who_is_in_no_group_of_the_console_stays_out(browser):
    answer = await browser.sign_in("nick")
    assert answer.status_code == 403
    assert "in no group that may use this console" in answer.text
    assert (await browser.get("/policy")).status_code == 303


async def test_signing_out_ends_the_session_for_whoever_has_its_name(browser, world, provider):
    await browser.sign_in("omar")
    stolen = dict(browser.client.cookies)
    answer = await browser.post("/logout")
    assert answer.status_code == 200
    there = unescape(answer.text.partition('class="button" href="')[2].partition('"')[0])
    assert there.startswith(f"{provider.issuer}/")
    assert parse_qs(urlsplit(there).query) == {
        "client_id": [provider.client_id],
        "post_logout_redirect_uri": [f"{origin(world)}/signin"],
    }
    assert (await browser.post("/logout")).headers["location"] == "/signin?out=1", "nobody to sign out"
    async with Browser(world, provider) as thief:
        thief.client.cookies.update(stolen)
        assert (await thief.get("/policy")).status_code == 303


async def test_nobody_signs_out_another_from_another_page(browser):
    await browser.sign_in("omar")
    answer = await browser.client.post(
        "/logout", data={"csrf": browser.csrf}, headers={"origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert (await browser.get("/policy")).status_code == 200


async def test_a_session_that_was_set_before_is_not_the_one_that_begins(browser):
    """Session fixation."""
    browser.client.cookies.set("__Host-authz-session", "chosen-by-the-attacker")
    answer = await browser.sign_in("omar")
    [cookie] = [each for each in answer.headers.get_list("set-cookie") if each.startswith("__Host-authz-session=")]
    assert "chosen-by-the-attacker" not in cookie
    before = cookie.partition(";")[0].partition("=")[2]
    await browser.sign_in("omar")
    browser.client.cookies.clear()
    browser.client.cookies.set("__Host-authz-session", before)
    assert (await browser.get("/policy")).status_code == 303, "the session before it goes on"


async def test_an_answer_to_a_login_of_another_browser_begins_nothing(browser, world, provider):
    """Login CSRF: the attacker's code in the victim's browser."""
    answer = await browser.at_provider(await browser.begin(), "omar")
    async with Browser(world, provider) as victim:
        await victim.begin()
        refused = await victim.get(answer)
        assert refused.status_code == 403
        assert "was not begun in this browser" in refused.text
        assert "__Host-authz-session" not in victim.client.cookies


async def test_a_login_is_good_once_whatever_code_comes_with_it(browser, monkeypatch):
    begun = await browser.begin()
    back = await browser.at_provider(begun, "omar")
    kept = dict(browser.client.cookies)
    assert (await browser.get(back)).status_code == 200
    another = await browser.at_provider(begun, "omar")  # of the same login: state and nonce as before, a fresh code
    assert another != back
    for answer in (back, another):
        browser.client.cookies.clear()
        browser.client.cookies.update(kept)
        again = await browser.get(answer)
        assert again.status_code == 403
        assert "this login was used already: begin anew" in again.text
        assert "__Host-authz-session" not in dict(browser.client.cookies)


async def test_a_code_is_good_once(browser, monkeypatch):
    back = await browser.at_provider(await browser.begin(), "omar")
    kept = dict(browser.client.cookies)
    assert (await browser.get(back)).status_code == 200
    browser.client.cookies.clear()
    browser.client.cookies.update(kept)
    monkeypatch.setattr(Logins, "_use", lambda *_: True)  # were the login good again, the code would not be
    again = await browser.get(back)
    assert again.status_code == 403
    assert "it is over, or was used already" in again.text


async def test_what_another_process_knows_is_asked_for_by_a_new_login(browser, alone, provider):
    """A session is kept in one process: another replica, or this one after a restart, does not know it."""
    await browser.sign_in("omar")
    async with alone().serving() as world, Browser(world, provider) as there:
        there.client.cookies.update(dict(browser.client.cookies))
        there.csrf = browser.csrf
        page = await there.get("/approvals/a-1?x=1")
        assert (page.status_code, page.headers["location"]) == (303, "/signin?next=%2Fapprovals%2Fa-1%3Fx%3D1")
        form = await there.post("/approvals/a-1/approve", digest="0" * 64)
        assert (form.status_code, form.headers["location"]) == (303, "/signin?next=%2Fapprovals%2Fa-1&lost=1")
        assert "Nothing was done" in (await there.get(form.headers["location"])).text
        theirs = await there.post("/approvals/a-1/approve", headers={"origin": "https://evil.example"})
        assert theirs.status_code == 401
        assert (await there.get("/decisions/stream")).status_code == 401
        assert (await there.post("/logout")).headers["location"] == "/signin?out=1"
        provider.redirects_to(f"{origin(world)}/login/callback")
        try:
            assert (await there.sign_in("omar")).status_code == 200
            assert (await there.get("/policy")).status_code == 200
        finally:
            provider.redirects_to(f"{origin(browser.world)}/login/callback")


async def test_the_answer_to_a_login_that_another_process_began_leads_to_a_new_one(browser, alone, provider):
    back = await browser.at_provider(await browser.begin(), "omar")
    async with alone().serving() as world, Browser(world, provider) as there:
        there.client.cookies.update(dict(browser.client.cookies))
        answer = await there.get(back)
        assert answer.status_code == 403
        assert 'href="/signin"' in answer.text


async def test_an_answer_of_another_provider_is_refused(browser):
    back = await browser.at_provider(await browser.begin(), "omar")
    assert "iss=" in back
    other = back.replace("iss=http%3A%2F%2F127.0.0.1", "iss=http%3A%2F%2F127.0.0.2")
    assert other != back
    refused = await browser.get(other)
    assert (refused.status_code, "came from another provider" in refused.text) == (403, True)
    back = await browser.at_provider(await browser.begin(), "omar")
    refused = await browser.get(back.partition("&iss=")[0])
    assert (refused.status_code, "came from another provider" in refused.text) == (403, True)


async def test_keys_that_rotated_are_read_anew(browser, provider):
    assert (await browser.sign_in("omar")).status_code == 200
    provider.rotate_keys()
    assert (await browser.sign_in("omar")).status_code == 200


class Another:
    """The provider, for another client of it; or for nobody there."""

    def __init__(self, provider, issuer=None, client_id=None):
        self.issuer, self.client_id = issuer or provider.issuer, client_id or provider.client_id
        self.secret = provider.secret
        self.sign_in = provider.sign_in


async def test_while_the_provider_is_down_there_is_a_clear_page_and_the_console_stays_up(alone, provider):
    async with alone(Another(provider, "http://127.0.0.1:9")).serving() as world, Browser(world, provider) as browser:
        answer = await browser.get("/login")
        assert answer.status_code == 503
        assert "identity provider cannot be reached" in answer.text
        assert "so are decisions" in answer.text
        assert (await browser.get("/signin")).status_code == 200


async def test_a_token_for_another_audience_is_refused(alone, provider, monkeypatch):
    import authz.console.provider as module

    async with alone().serving() as world, Browser(world, provider) as browser:
        provider.redirects_to(f"{origin(world)}/login/callback")
        login = await browser.begin()
        theirs = login.replace(provider.client_id, OTHER_CLIENT)
        back = await browser.at_provider(theirs, "omar")
        # As if the provider gave us a token that was made for another application.
        whole = module.AsyncOAuth2Client

        def client(**options):
            return whole(**{**options, "client_id": OTHER_CLIENT})

        monkeypatch.setattr(module, "AsyncOAuth2Client", client)
        answer = await browser.get(back)
        assert answer.status_code == 403
        assert "audience" in answer.text or "aud" in answer.text
        assert "__Host-authz-session" not in browser.client.cookies


async def test_whom_policy_does_not_let_in_is_not_let_in(alone, provider):
    async with alone(rules="# nothing is allowed\n").serving() as world, Browser(world, provider) as browser:
        provider.redirects_to(f"{origin(world)}/login/callback")
        answer = await browser.sign_in("omar")
        assert answer.status_code == 403
        assert (await browser.get("/policy")).status_code == 303
        assert not world.trail.last.decision.allowed


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "evil",
        "",
        "/a b",
        "/ü",
        "/x\r\nset-cookie: a=b",
        "/" + "a" * 5_000,
        "http:///x",
        "//[",
    ],
)
def test_nobody_is_sent_elsewhere(text):
    assert local_path(text) == "/approvals"


def test_a_path_of_the_console_is_where_one_comes_back_to():
    assert local_path("/approvals/a-1?x=1&y=%2F") == "/approvals/a-1?x=1&y=%2F"


async def test_a_link_from_another_site_leads_through_a_page_of_our_own(browser):
    answer = await browser.get("/policy", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'content="0;url=/policy"' in answer.text


async def test_who_may_only_look_cannot_act(browser, world):
    await browser.sign_in("vera")
    answer = await browser.post("/lockdown/start", reason="x", minutes="5", confirm="LOCKDOWN")
    assert answer.status_code == 403
    assert "needs the role" in answer.text
    assert await world.shared.store.break_glass() is None
    json.dumps(answer.text)
