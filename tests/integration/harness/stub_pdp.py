"""A PDP that answers what a test tells it to, and remembers what it was asked."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

_SERVICE = "envoy.service.auth.v3.Authorization"
Answer = Callable[[CheckRequest], CheckResponse | bytes]


def allow(_request: CheckRequest | None = None, headers: Mapping[str, str] | None = None) -> CheckResponse:
    response = CheckResponse()
    response.status.message = "OK"
    response.ok_response.SetInParent()
    for name, value in (headers or {}).items():
        option = response.ok_response.headers.add(append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
        option.header.key, option.header.value = name, value
    return response


def deny(_request: CheckRequest | None = None, status: int = 403, body: str = "") -> CheckResponse:
    response = CheckResponse()
    response.status.code = 7
    response.denied_response.status.code = status
    response.denied_response.body = body
    return response


class StubPdp:
    """Serves until stopped. `answer` is the test's to replace."""

    def __init__(self, address: str, tls: tuple[Path, Path, Path] | None = None) -> None:
        """`address`: "unix:PATH" or "127.0.0.1:0". `tls`: certificate, key, and the CA of those who may ask."""
        self.answer: Answer = deny
        self.requests: list[CheckRequest] = []
        self._server = grpc.server(ThreadPoolExecutor(4))
        check = grpc.unary_unary_rpc_method_handler(self._check)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Check": check}),))
        if tls:
            certificate, key, ca = (path.read_bytes() for path in tls)
            credentials = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
            self.port = self._server.add_secure_port(address, credentials)
        else:
            self.port = self._server.add_insecure_port(address)
        self._server.start()

    def _check(self, message: bytes, _context: grpc.ServicerContext) -> bytes:
        request = CheckRequest.FromString(message)
        self.requests.append(request)
        answer = self.answer(request)
        return answer if isinstance(answer, bytes) else answer.SerializeToString()

    def reset(self) -> None:
        self.answer = deny
        self.requests.clear()

    @property
    def last(self) -> CheckRequest:
        return self.requests[-1]

    def headers(self) -> dict[str, list[bytes]]:
        """Header values of the last request, as they came."""
        found: dict[str, list[bytes]] = {}
        for field in self.last.attributes.request.http.header_map.headers:
            found.setdefault(field.key, []).append(field.raw_value)
        return found

    def stop(self) -> None:
        self._server.stop(0).wait()
