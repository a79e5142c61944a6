"""What can be set about reading actions from bodies."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from authz.actions.a2a.settings import A2aSettings
from authz.actions.graphql.settings import GraphqlSettings
from authz.actions.limits import Limits
from authz.actions.mcp.settings import McpSettings
from authz.actions.names import BUILT_IN_NAMES
from authz.resource_pattern import check_host, parse_path

NONE = "none"
"""The name that stands for no decoder."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests a decoder reads: those that meet every condition given. The first route that fits counts."""

    decoder: str
    """The decoder: `mcp`, `a2a`, `openai`, `anthropic`, `graphql`, `grpc`, `rest`, one of `actions.mcp` or of
    `actions.plugins`; `none`: the request is named by its method, no body is read."""
    host: Annotated[str, msgspec.Meta(max_length=255)] = "*"
    """As in the catalogue: `tools.demo.internal`, `*.demo.internal` or `*`."""
    path: Annotated[str, msgspec.Meta(max_length=1_024)] = ""
    """As in the catalogue: `/mcp`, `/v1/accounts/{id}`, `/mcp/*` for `/mcp` and all below it; "": any."""
    methods: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()
    """HTTP methods; none: any."""
    type: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The type that the catalogue gives the resource; "": any."""
    content_type: Annotated[str, msgspec.Meta(max_length=128)] = ""
    """The media type of the body, such as `application/graphql+json`; "": any. The client chooses it: what it sends
    under another one is not read, so rules must deny the plain method there."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) for what the types cannot say."""
        try:
            check_host(self.host)
        except ValueError as error:
            yield "host", str(error)
        if self.path:
            try:
                parse_path(self.path)
            except ValueError as error:
                yield "path", str(error)
        if self.content_type and not _MEDIA_TYPE.fullmatch(self.content_type):
            yield "content_type", "must be a media type in lower case without parameters, such as application/json"
        for method in self.methods:
            if method != method.upper():
                yield "methods", f"{method!r}: a method is written in capitals, such as POST"


class PluginSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decoder that another Python package brings along, by an entry point of the group `authz.decoders`."""

    entry_point: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    """The entry point's name."""
    settings: dict[str, Any] = {}
    """What the decoder is made with; what it means is the package's business."""


class ActionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests are read from their bodies, and how. Without a route none is, and nothing is spent on it."""

    routes: Annotated[tuple[RouteSettings, ...], msgspec.Meta(max_length=256)] = ()
    """Which decoder reads which requests; the first that fits counts."""
    context_key: Annotated[str, msgspec.Meta(max_length=128)] = ""
    """A key of Envoy's `context_extensions`, such as `authz_decoder`, whose value on a route names the decoder; goes
    before `routes`. "": not looked at."""
    accept_text_bodies: bool = False
    """Whether to read bodies that Envoy sends as text. In those, bytes that are not UTF-8 show as `!`, so that the
    upstream gets another body than was judged; set `pack_as_bytes` in Envoy instead."""
    limits: Limits = Limits()
    """How much of a body is read."""
    mcp: Annotated[dict[str, McpSettings], msgspec.Meta(max_length=256)] = {}
    """MCP servers that differ from the defaults, each a decoder by this name; `[actions.mcp.mcp]` changes the
    defaults' own."""
    a2a: A2aSettings = A2aSettings()
    """How the decoder `a2a` reads."""
    graphql: GraphqlSettings = GraphqlSettings()
    """How the decoder `graphql` reads."""
    plugins: Annotated[dict[str, PluginSettings], msgspec.Meta(max_length=64)] = {}
    """Decoders of other packages, each by this name."""

    @property
    def decoder_names(self) -> frozenset[str]:
        """Every name that a route may give."""
        return frozenset({NONE, *BUILT_IN_NAMES, *self.mcp, *self.plugins})

    @property
    def enabled(self) -> bool:
        """Whether any request can be read from its body."""
        return bool(self.routes or self.context_key)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) for what the types cannot say."""
        names = self.decoder_names
        for number, route in enumerate(self.routes):
            if route.decoder not in names:
                yield (
                    "routes",
                    f"entry {number + 1}: there is no decoder {route.decoder!r}; known: {', '.join(sorted(names))}",
                )
        for section, taken in (("mcp", BUILT_IN_NAMES - {"mcp"}), ("plugins", BUILT_IN_NAMES | self.mcp.keys())):
            for name in getattr(self, section):
                if not _NAME.fullmatch(name) or name == NONE:
                    yield section, f"{name!r}: a name is made of lower-case letters, digits, `.`, `_` and `-`"
                elif name in taken:
                    yield section, f"there is another decoder named {name!r}"
