"""Puts a task's grant into the requests that are made for it: httpx, and grpc.aio."""

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from authz.client.tasks import Task

if TYPE_CHECKING:
    import httpx

_Continue: TypeAlias = Callable[..., Any]


def httpx_auth(task: Task) -> "httpx.Auth":
    """Answer what httpx puts into every request: `httpx.AsyncClient(auth=httpx_auth(task))`. Needs httpx."""
    import httpx  # noqa: PLC0415 - only who uses it needs it

    class WithGrant(httpx.Headers):
        """Headers of one request: what is made of them for a redirect has the grant no more.

        httpx takes the headers of a request along wherever it is redirected, but for `Authorization`.
        """

        def __init__(self, headers: httpx.Headers, grant: dict[str, str]) -> None:
            for name in grant:
                headers.pop(name, None)
            super().__init__(headers)
            self._grant = httpx.Headers(grant)

        @property
        def raw(self) -> list[tuple[bytes, bytes]]:
            return [*super().raw, *self._grant.raw]

        def multi_items(self) -> list[tuple[str, str]]:
            return [*super().multi_items(), *self._grant.multi_items()]

        def __getitem__(self, key: str) -> str:
            return self._grant[key] if key in self._grant else super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            return key in self._grant or super().__contains__(key)

    class GrantAuth(httpx.Auth):
        """Sends the grant as of each request, to where that goes and not to where it is redirected."""

        def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
            """Add the header; once more where the same origin led elsewhere and was refused for want of it."""
            request.headers = WithGrant(request.headers, task.headers)
            response = yield request
            led = response.history and all(_origin(each.url) == _origin(request.url) for each in _steps(response))
            if led and response.status_code in _WANTING and response.request.method in _REPEATABLE:
                again = response.request
                again.headers = WithGrant(again.headers, task.headers)
                yield again

    return GrantAuth()


_WANTING = frozenset({401, 403})
_REPEATABLE = frozenset({"GET", "HEAD"})


def _steps(response: "httpx.Response") -> "list[httpx.Request]":
    return [*(each.request for each in response.history), response.request]


def _origin(url: "httpx.URL") -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def grpc_interceptors(task: Task) -> list[Any]:
    """Answer what grpc.aio puts into every call: `secure_channel(..., interceptors=grpc_interceptors(task))`."""
    return [_UnaryUnary(task), _UnaryStream(task), _StreamUnary(task), _StreamStream(task)]


class _Sends:
    def __init__(self, task: Task) -> None:
        self._task = task

    def _with_grant(self, details: Any) -> grpc.aio.ClientCallDetails:
        metadata = [*(details.metadata or ()), *self._task.headers.items()]
        return grpc.aio.ClientCallDetails(
            details.method,
            details.timeout,
            grpc.aio.Metadata(*metadata),
            details.credentials,
            details.wait_for_ready,
        )


# One class for each kind of call: gRPC looks at the first kind that an interceptor is of, and at no other.


class _UnaryUnary(_Sends, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg] # generic in the stubs only
    async def intercept_unary_unary(self, continuation: _Continue, details: Any, request: Any) -> Any:
        return await continuation(self._with_grant(details), request)


class _UnaryStream(_Sends, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg] # generic in the stubs only
    async def intercept_unary_stream(self, continuation: _Continue, details: Any, request: Any) -> Any:
        return await continuation(self._with_grant(details), request)


class _StreamUnary(_Sends, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg] # generic in the stubs only
    async def intercept_stream_unary(self, continuation: _Continue, details: Any, requests: Any) -> Any:
        return await continuation(self._with_grant(details), requests)


class _StreamStream(_Sends, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg] # generic in the stubs only
    async def intercept_stream_stream(self, continuation: _Continue, details: Any, requests: Any) -> Any:
        return await continuation(self._with_grant(details), requests)
