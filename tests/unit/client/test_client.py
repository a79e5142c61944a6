"""The client: a grant for the length of a task, over real mutual TLS."""

import asyncio
import contextlib
import subprocess
import sys

import grpc
import httpx
import pytest
from control_kit import PLANNER, RESEARCHER

from authz.client import CallFailedError, Grants, connect, grpc_interceptors, httpx_auth, permission
from authz.control.v1 import grants_pb2 as pb

OPEN = "p, anybody, True, *, *, allow,\n"
SCOPE = [permission(["GET"], ["/v1/accounts/*"])]


@pytest.fixture
async def free(start):
    async with start(rules=OPEN) as world:
        yield world


@contextlib.asynccontextmanager
async def connected(world, who=PLANNER):
    made = world.pki.issue(who, "client")
    files = {"certificate": made["certificate"], "key": made["key"], "ca": world.pki.ca}
    async with connect(world.target, **files, server_name="localhost") as connection:
        yield connection


@pytest.fixture
async def connection(free):
    async with connected(free) as made:
        yield made


async def active(connection, token):
    return (await connection.call("Grants/Introspect", pb.IntrospectRequest(token=token), pb.IntrospectResponse)).active


async def test_a_task_has_a_grant_for_its_length(connection):
    async with Grants(connection).task(purpose="plan the week", scope=SCOPE) as task:
        assert task.grant.holder == PLANNER
        assert task.headers == {"authz-grant": task.token}
        assert await active(connection, task.token)
    assert not await active(connection, task.token)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
async def test_a_task_that_ends_with_an_error_is_over_too(connection, error):
    seen = []

    async def work():
        async with Grants(connection).task(purpose="x", scope=SCOPE) as task:
            seen.append(task.token)
            raise error

    with pytest.raises(error):
        await work()
    assert not await active(connection, seen[0])


async def test_a_task_that_is_cancelled_while_it_waits_is_over(connection):
    entered = asyncio.Event()
    seen = []

    async def work():
        async with Grants(connection).task(purpose="x", scope=SCOPE) as task:
            seen.append(task.token)
            entered.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await entered.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert not await active(connection, seen[0])


async def test_a_grant_is_renewed_before_it_expires(connection):
    async with Grants(connection).task(purpose="x", scope=SCOPE, ttl_seconds=6) as task:
        first = task.token
        async with asyncio.timeout(60):
            while task.token == first:
                await asyncio.sleep(0.05)
        assert await active(connection, task.token)
        assert task.problem is None
        renewed = task.token
    assert not await active(connection, renewed)
    assert not await active(connection, first)


async def test_a_renewal_that_is_refused_shows_and_the_grant_stays(free, connection):
    async with Grants(connection).task(purpose="x", scope=SCOPE, ttl_seconds=4) as task:
        first = task.token
        await free.shared.store.complete(task.id, "somebody")
        async with asyncio.timeout(60):
            while task.problem is None:
                await asyncio.sleep(0.05)
        assert task.token == first
        assert task.problem.reason == "ENDED"


async def test_a_counted_grant_is_not_renewed(connection):
    async with Grants(connection).task(purpose="x", scope=SCOPE, uses=1) as task:
        assert task.grant.uses == 1
        assert not any("Grants._renew" in repr(each.get_coro()) for each in asyncio.all_tasks())


async def test_a_refusal_says_why(start):
    async with start() as world, connected(world, RESEARCHER) as connection:
        with pytest.raises(CallFailedError) as failed:
            async with Grants(connection).task(purpose="", scope=SCOPE):
                raise AssertionError("not reached")
        assert failed.value.reason == "NO_MATCHING_RULE"
        with pytest.raises(CallFailedError) as failed:
            async with Grants(connection).task(purpose="x", scope=SCOPE, ttl_seconds=9_999):
                raise AssertionError("not reached")
        assert "ttl" in failed.value.violations


async def test_httpx_sends_the_grant_as_of_each_request(connection):
    seen = []

    def answer(request):
        seen.append(request.headers["authz-grant"])
        return httpx.Response(200)

    async with Grants(connection).task(purpose="x", scope=SCOPE) as task:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, auth=httpx_auth(task)) as client:
            await client.get("https://api.demo.internal/v1/accounts/1")
            assert seen == [task.token]


@pytest.mark.parametrize(
    ("hops", "carried"),
    [
        (("https://api.demo.internal/2",), [True, False, True]),  # refused without it, asked once more with it
        (("https://evil.example/2",), [True, False]),
        (("https://api.demo.internal:8443/2",), [True, False]),
        (("http://api.demo.internal/2",), [True, False]),
        (("https://evil.example/2", "https://api.demo.internal/3"), [True, False, False]),
        (("https://api.demo.internal/2", "https://evil.example/3"), [True, False, False]),
    ],
)
async def test_a_redirect_takes_the_grant_nowhere(connection, hops, carried):
    seen = []

    def answer(request):
        raw = dict(request.headers.raw)
        seen.append(b"authz-grant" in raw)
        assert seen[-1] == ("authz-grant" in request.headers) == ("authz-grant" in dict(request.headers.multi_items()))
        at = ["https://api.demo.internal/1", *hops].index(str(request.url))
        if at < len(hops):
            return httpx.Response(307, headers={"location": hops[at]})
        return httpx.Response(200 if seen[-1] else 403)

    async with Grants(connection).task(purpose="p", scope=SCOPE) as task:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, auth=httpx_auth(task), follow_redirects=True) as client:
            answered = await client.get("https://api.demo.internal/1", headers={"authz-grant": "an older one"})
    assert seen == carried
    assert answered.status_code == (200 if carried[-1] else 403)


async def test_a_redirected_order_is_not_given_twice(connection):
    seen = []

    def answer(request):
        seen.append(request.headers.get("authz-grant"))
        moved = httpx.Response(307, headers={"location": "https://api.demo.internal/2"})
        return moved if request.url.path == "/1" else httpx.Response(403)

    async with Grants(connection).task(purpose="p", scope=SCOPE) as task:
        transport = httpx.MockTransport(answer)
        async with httpx.AsyncClient(transport=transport, auth=httpx_auth(task), follow_redirects=True) as client:
            await client.post("https://api.demo.internal/1", content=b"x")
    assert seen == [task.token, None]


async def test_grpc_calls_carry_the_grant_whatever_their_kind(connection):
    seen = []

    class Echo(grpc.GenericRpcHandler):
        def service(self, details):
            seen.append(dict(details.invocation_metadata).get("authz-grant"))

            async def unary(request, context):
                return b""

            async def stream(request, context):
                yield b""

            return {
                "/x/uu": grpc.unary_unary_rpc_method_handler(unary),
                "/x/us": grpc.unary_stream_rpc_method_handler(stream),
                "/x/su": grpc.stream_unary_rpc_method_handler(unary),
                "/x/ss": grpc.stream_stream_rpc_method_handler(stream),
            }[details.method]

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def requests():
        yield b""

    async with Grants(connection).task(purpose="x", scope=SCOPE) as task:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=grpc_interceptors(task)) as channel:
            await channel.unary_unary("/x/uu")(b"")
            assert [each async for each in channel.unary_stream("/x/us")(b"")] == [b""]
            await channel.stream_unary("/x/su")(requests())
            assert [each async for each in channel.stream_stream("/x/ss")(requests())] == [b""]
        assert seen == [task.token] * 4
    await server.stop(0)


async def test_connections_that_cannot_be_meant():
    with pytest.raises(ValueError, match="needs certificate"):
        async with connect("127.0.0.1:1"):
            pass
    with pytest.raises(ValueError, match="no TLS"):
        async with connect("unix:/run/x", certificate="a"):
            pass


async def test_a_server_that_is_not_there():
    async with connect("unix:/nowhere/control.sock", timeout_seconds=60) as connection:
        with pytest.raises(CallFailedError) as failed:
            await connection.call("Grants/Introspect", pb.IntrospectRequest(), pb.IntrospectResponse)
    assert failed.value.code is grpc.StatusCode.UNAVAILABLE
    assert failed.value.reason == ""


def test_the_client_loads_nothing_of_the_server():
    heavy = ("msgspec", "structlog", "cryptography", "sqlalchemy", "h2corn", "envoy", "uvloop", "httpx", "authz.config")
    code = f"import sys, authz.client; print(' '.join(n for n in {heavy!r} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
