"""A configuration like a real one, for the tests of loading, showing and documenting."""

import enum
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
import pytest

from authz.config.file import load
from authz.errors import ConfigError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Certificates of a listener."""

    certificate_file: str
    """The chain, PEM."""
    key_file: str = "/etc/authz/key.pem"
    client_names: tuple[str, ...] = ()


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where requests come in.

    A second paragraph.
    """

    listen: str = "127.0.0.1:9000"
    """Address, or `unix:` and a path. A | in the text."""
    max_streams: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    """Most calls at once."""
    timeout_seconds: Annotated[float, msgspec.Meta(gt=0)] = 0.2
    transport: Literal["h2corn", "aio"] = "h2corn"
    """Which server."""
    eager: bool = False
    tls: Tls | None = None
    """Without it: plaintext."""
    retries: int | None = None

    def problems(self) -> Iterable[tuple[str, str]]:
        if self.eager and self.transport == "aio":
            yield "eager", "not with aio"
        if self.tls and not self.tls.key_file:
            yield "tls.key_file", "must not be empty"


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token issuer."""

    url: str
    """Its name."""
    audiences: Annotated[tuple[str, ...], msgspec.Meta(max_length=2)] = ()
    client_secret: str = ""
    pin: Annotated[str, msgspec.Meta(extra={"secret": True})] = ""

    def problems(self) -> Iterable[tuple[str, str]]:
        if not self.url.startswith("https:"):
            yield "url", "must be https"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings."""

    name: str = "authz"
    """What this server calls itself."""
    server: Server = Server()
    issuers: Annotated[tuple[Issuer, ...], msgspec.Meta(max_length=3)] = ()
    """Whose tokens are accepted."""
    domains: dict[str, Tls] = {}
    """By trust domain."""
    labels: dict[str, str] = {}
    """Free text."""
    weights: dict[str, float] = {}
    colour: Colour = Colour.RED
    matrix: tuple[tuple[int, ...], ...] = ()


@pytest.fixture
def config_type():
    return Config


@pytest.fixture
def types():
    return {"Config": Config, "Server": Server, "Issuer": Issuer, "Tls": Tls, "Colour": Colour}


@pytest.fixture
def read(tmp_path):
    """A function that loads a text, with variables."""

    def read(text="", /, **environ):
        path = tmp_path / "authz.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        return load(path, Config, environ)

    return read


@pytest.fixture
def faults(read, tmp_path):
    """A function that answers the lines of the error that a text gives, without the directory."""

    def faults(text="", /, **environ):
        with pytest.raises(ConfigError) as caught:
            read(text, **environ)
        return str(caught.value).replace(f"{tmp_path}/", "").split("\n")

    return faults
