"""The webhook: what is delivered and how it is signed, and that a receiver that is down or slow holds nothing up."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import threading
import time
from urllib.parse import urlsplit

import pytest
from approval_kit import BODY, Plane, Provider, configured, desk, inventory, until
from structlog.testing import capture_logs

from authz.approvals.settings import WebhookSettings
from authz.control.webhook import Webhook, _Delivery
from authz.control.webhook_payload import read_secret, signature
from authz.errors import ConfigError

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()


class Receiver:
    """Answers deliveries with the statuses that it is given, the last for ever; 0: it never answers."""

    def __init__(self):
        self.statuses = [200]
        self.seen = []
        self.release = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.seen.append((dict(self.headers.items()), body))
                status = outer.statuses.pop(0) if len(outer.statuses) > 1 else outer.statuses[0]
                if not status:
                    outer.release.wait(60)
                    return
                self.send_response(status)
                if status in {302, 307}:
                    self.send_header("location", outer.url + "elsewhere")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
async def world(start, tmp_path):
    provider = Provider(tmp_path)
    files = {
        "policy.csv": "p, pay, True, /v1/payments*, *, allow, require_approval=payments\n",
        "inventory.toml": inventory(),
    }
    rules = "p, anybody, True, *, *, allow,\n"
    async with start(operators=configured(provider), rules=rules, files=files) as made:
        made.plane, made.desk, made.provider = Plane(made), desk(made), provider
        yield made


def webhook(world, receiver, **changes):
    (world.directory / "secret").write_text(SECRET)
    settings = WebhookSettings(
        **{"url": receiver.url, "secret_file": "secret", "retry_min_seconds": 0.01, "retry_max_seconds": 0.02} | changes
    )
    return Webhook(settings, world.shared.store, world.directory, lambda name: f"https://console/{name}")


@contextlib.asynccontextmanager
async def telling(world, receiver, **changes):
    hook = webhook(world, receiver, **changes)
    running = asyncio.create_task(hook.run())
    await asyncio.sleep(0)
    try:
        yield hook
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def verify(headers, body):
    """As a receiver does, by Standard Webhooks."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(b"s" * 24, signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(headers["webhook-signature"], f"v1,{wanted}") and (
        abs(int(headers["webhook-timestamp"]) - time.time()) < 300
    )


async def test_humans_are_told_and_can_see_that_it_is_genuine(world, receiver):
    async with telling(world, receiver):
        asked = await world.plane.ask(x_task_purpose="<!channel> *pay* <http://evil|here>")
        await until(lambda: receiver.seen)
        [(headers, body)] = receiver.seen
        assert verify(headers, body)
        assert not verify(headers, body.replace(b"250", b"251"))
        assert not verify(headers | {"webhook-timestamp": "1"}, body)
        told = json.loads(body)
        assert told["text"].startswith("Approval wanted: POST by spiffe://demo.internal/")
        fields = [each["text"] for each in told["blocks"][1]["fields"]]
        assert "Amount: amount=250, currency=EUR" in fields
        assert {each["type"] for each in told["blocks"][1]["fields"]} == {"plain_text"}
        assert told["blocks"][2]["elements"][0]["url"] == f"https://console/{asked.id}"
        assert told["metadata"]["event_payload"]["approval_id"] == asked.id
        assert b"hunter2" not in body
        assert "<!channel>" not in told["text"]
        await world.desk.approve(asked.id, world.provider.token())
        await until(lambda: len(receiver.seen) > 1)
        assert json.loads(receiver.seen[1][1])["metadata"]["event_type"] == "authz_approval_approved"


async def test_it_ends_though_the_answer_comes_at_that_moment(world, receiver, monkeypatch):
    answer, begun = asyncio.get_running_loop().create_future(), asyncio.Event()
    monkeypatch.setattr("authz.control.webhook.in_daemon_thread", lambda post: begun.set() or answer)
    hook = webhook(world, receiver)
    hook._put(_Delivery("opened", (await world.plane.ask()).id, "m-1"))
    delivering = asyncio.create_task(hook._deliver())
    await begun.wait()
    answer.set_result(200)
    await asyncio.sleep(0)  # whoever waits for the answer may not have seen it yet
    delivering.cancel()
    done, _ = await asyncio.wait([delivering], timeout=10)
    assert done, "it goes on, so that the server would never end"


async def test_what_fails_is_tried_again_under_the_same_id(world, receiver):
    receiver.statuses = [500, 429, 200]
    async with telling(world, receiver):
        await world.plane.ask()
        await until(lambda: len(receiver.seen) >= 3)
    assert len({headers["webhook-id"] for headers, _ in receiver.seen}) == 1
    assert len({body for _, body in receiver.seen}) == 1
    assert all(verify(*each) for each in receiver.seen)


@pytest.mark.parametrize("status", [302, 307, 404, 410])
async def test_a_refusal_is_not_tried_again_and_a_redirect_not_followed(world, receiver, status):
    receiver.statuses = [status]
    with capture_logs():
        async with telling(world, receiver) as hook:
            await world.plane.ask()
            await until(lambda: hook.given_up)
    assert len(receiver.seen) == 1


async def test_one_who_is_down_is_given_up_and_the_next_is_tried(world, receiver):
    receiver.statuses = [503, 503, 200]
    with capture_logs():
        async with telling(world, receiver, max_attempts=2) as hook:
            await world.plane.ask()
            await world.plane.ask(BODY + b" ")
            await until(lambda: len(receiver.seen) >= 3)
            assert hook.given_up == 1


async def test_one_who_never_answers_holds_nothing_up_and_the_queue_is_bounded(world, receiver):
    receiver.statuses = [0]
    with capture_logs():
        async with telling(world, receiver, max_queue=2, timeout_seconds=30.0) as hook:
            told = [await world.plane.ask(b"0")]
            await until(lambda: receiver.seen)  # one is under way: of the next five two wait
            told += [await world.plane.ask(b"%d" % number) for number in range(1, 6)]
            assert {each.reason for each in told} == {"approval_required"}
            await until(lambda: hook.given_up == 3)
            assert hook.waiting == 2
            await world.desk.approve(told[0].id, world.provider.token())
            assert (await world.plane.ask(b"0")).allowed


async def test_one_who_is_too_slow_is_cut_off(world, receiver):
    receiver.statuses = [0, 200]
    async with telling(world, receiver, timeout_seconds=0.2):
        await world.plane.ask()
        await until(lambda: len(receiver.seen) >= 2)


async def test_where_nobody_listens_it_is_given_up(world, receiver):
    receiver.close()
    with capture_logs():
        async with telling(world, receiver, max_attempts=2) as hook:
            await world.plane.ask()
            await until(lambda: hook.given_up == 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x",
        "http://localhost/x",
        "http://127.0.0.1.example/x",
        "ftp://127.0.0.1/",
        "https://user:pw@hooks.example/x",
        "https:///x",
        "https://hooks.example/x#y",
        "https://hooks.example/\r\nx",
        "https://[::1",
        "",
    ],
)
def test_only_where_nobody_reads_along(url, tmp_path):
    with pytest.raises(ConfigError, match=r"approvals\.webhook\.url") as refused:
        Webhook(WebhookSettings(url=url), None, tmp_path, str)
    assert "pw" not in str(refused.value)


def test_the_url_may_be_a_secret_in_a_file(tmp_path):
    (tmp_path / "url").write_text("https://hooks.example/T/B/secret\n")
    hook = Webhook(WebhookSettings(url_file="url"), None, tmp_path, str)
    assert hook._url == urlsplit("https://hooks.example/T/B/secret")


@pytest.mark.parametrize("text", ["tiny-one", "whsec_!!!", "whsec_" + base64.b64encode(b"x").decode()])
def test_a_secret_that_is_none_is_refused_and_not_quoted(text):
    with pytest.raises(ConfigError) as refused:
        read_secret(text, "file")
    assert text not in str(refused.value)


def test_the_signature_is_that_of_standard_webhooks():
    """The example of their specification's reference implementation."""
    secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "file")
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
