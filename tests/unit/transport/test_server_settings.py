"""The defaults are safe, nothing is unbounded, and the data plane refuses what is not safe before it listens."""

import ast
import inspect
import itertools
import typing

import msgspec
import pytest
from transport_kit import PROXY, FakeObserver, FakePdp, Pki

from authz.errors import ConfigError
from authz.transport.readiness import Readiness
from authz.transport.server import LISTENERS, DataPlane
from authz.transport.settings import AdminSettings, OverloadSettings, ServerSettings, TlsSettings

ALL = [ServerSettings, TlsSettings, OverloadSettings, AdminSettings]


def plane_of(settings: ServerSettings) -> DataPlane:
    return DataPlane(settings, FakePdp(), Readiness([LISTENERS]), FakeObserver())


def test_the_defaults_serve_this_machine_only():
    settings = ServerSettings()
    assert settings.listen == ("127.0.0.1:9191",)
    assert settings.unix_socket_mode == 0o600
    assert not settings.allow_plaintext
    plane_of(settings)


@pytest.mark.parametrize("listen", ["0.0.0.0:9191", "[::]:9191", "192.0.2.1:9191"])
@pytest.mark.parametrize("transport", ["h2corn", "grpc.aio"])
def test_plaintext_that_others_reach_is_refused_before_anything_listens(listen, transport):
    with pytest.raises(ConfigError, match="without TLS"):
        plane_of(ServerSettings(transport=transport, listen=("127.0.0.1:0", listen)))
    plane_of(ServerSettings(transport=transport, listen=(listen,), allow_plaintext=True))


def test_tls_makes_it_fine(tmp_path):
    plane_of(ServerSettings(listen=("0.0.0.0:0",), tls=Pki(tmp_path).settings(allowed_callers=(PROXY,))))


def test_a_caller_that_is_no_spiffe_id_is_refused_before_anything_listens(tmp_path):
    with pytest.raises(ConfigError, match="allowed_callers"):
        plane_of(ServerSettings(tls=Pki(tmp_path).settings(allowed_callers=("envoy",))))


@pytest.mark.parametrize("kind", ALL)
def test_every_field_of_the_settings_is_explained(kind):
    body = ast.parse(inspect.getsource(kind)).body[0].body
    explained = [
        field.target.id
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value.value, str)
    ]
    assert explained == [field.name for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize("kind", ALL)
def test_no_limit_can_be_switched_off(kind):
    filled = {"certificate": "c", "key": "k", "client_ca": "a"} if kind is TlsSettings else {}
    checked = 0
    for field in msgspec.structs.fields(kind):
        base = typing.get_args(field.type)[0] if typing.get_origin(field.type) is typing.Annotated else field.type
        if base not in (int, float):
            continue
        may_be_zero = field.name in {
                "unix_socket_mode", "drain_delay_seconds", "deadline_margin_seconds", "max_connection_age_seconds",
            }  # fmt: skip
        for bad in (-1, float("inf"), float("nan"), 2**40, *(() if may_be_zero else (0,))):
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({**filled, field.name: bad}, kind)
        checked += 1
    assert checked


@pytest.mark.parametrize("kind", ALL)
def test_an_unknown_key_is_an_error(kind):
    filled = {"certificate": "c", "key": "k", "client_ca": "a"} if kind is TlsSettings else {}
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({**filled, "max_mesage_bytes": 1}, kind)
