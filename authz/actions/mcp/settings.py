"""What can be set about one MCP server."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

import msgspec

from authz.actions.mcp.names import NAME_RULES, TOOL_NAME, NameRule

Revision: TypeAlias = Literal["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
REVISIONS: tuple[Revision, ...] = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
"""What a header's name may be made of (RFC 9110 section 5.6.2)."""
_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9_$.-]*(?:/[A-Za-z0-9_$.-]+)*")


class McpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests to one MCP server, or one kind of them, are read."""

    source: Literal["body", "envoy", "both"] = "body"
    """Who parses: we, from the body; Envoy's filter `envoy.filters.http.mcp`, through dynamic metadata (it passes on no
    arguments by default, and takes the last of repeated keys unless `reject_duplicate_keys`); or both, and where they
    disagree the request is denied. The last two need the filter's namespace in `check_request.metadata_namespaces`."""
    revisions: Annotated[tuple[Revision, ...], msgspec.Meta(min_length=1)] = REVISIONS
    """Protocol revisions that are accepted in `MCP-Protocol-Version`."""
    without_version: Literal["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "deny"] = "2025-03-26"
    """What a request without that header is taken for, `deny` or a revision that is not accepted: denied. The
    specification says 2025-03-26, the one revision with batches."""
    names: NameRule = "ascii"
    """Which names of tools and prompts are accepted. `ascii`: letters, digits, `_`, `-`, `.`, as the specification
    recommends: no two of them look alike beyond what a font does. `unicode`: letters and digits of one script each,
    normalised (NFKC), which still lets through names that look alike as a whole, such as a Cyrillic one beside a
    Latin one."""
    tools: Annotated[tuple[str, ...], msgspec.Meta(max_length=128)] = ()
    """The server's tools. Where given, an allowed `tools/list` tells the proxy, in the response header
    `x-authz-allowed-tools`, which of them this caller may call, so that it can take the others off the list."""
    only_tools: bool = False
    """Whether calls of tools that `tools` does not name are refused before any rule is asked."""
    mirrored: Annotated[dict[str, dict[str, tuple[str, ...]]], msgspec.Meta(max_length=1_024)] = {}
    """Which arguments clients mirror in headers, as the schemas of the tools say (`x-mcp-header`): by tool, the name in
    `Mcp-Param-<name>` with the path of the property, as `execute_sql = { Region = ["region"] }`. Of a tool that stands
    here, each header must say what its argument does, none may be missing (from 2026-07-28 on), and there is no
    other."""
    unmirrored: Literal["deny", "among"] = "deny"
    """What becomes of `Mcp-Param-*` in calls of other tools. "deny": refused, since which argument such a header
    mirrors is not known. "among": it must say what some argument does, be it another than the server takes it for; then
    let no proxy route by it."""
    extra_methods: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()
    """Methods of extensions that are let through to the rules, as `mcp:<method>`; others that the specification does
    not have are denied."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) for what the types cannot say."""
        for name in self.tools:
            if NAME_RULES[self.names](name) is None:
                yield "tools", f"{name!r} is no name of a tool that `names` accepts"
            elif TOOL_NAME.fullmatch(name) is None:
                yield "tools", f"{name!r} cannot stand in a header: only letters, digits, `_`, `-` and `.` can"
        if len(set(self.tools)) != len(self.tools):
            yield "tools", "a name stands there twice"
        if self.only_tools and not self.tools:
            yield "only_tools", "needs `tools`"
        yield from self._mirrored_problems()
        for method in self.extra_methods:
            if not _METHOD.fullmatch(method):
                yield "extra_methods", f"{method!r} is no method name such as acme/doThing"

    def _mirrored_problems(self) -> Iterator[tuple[str, str]]:
        for tool, params in self.mirrored.items():
            if NAME_RULES[self.names](tool) is None:
                yield "mirrored", f"{tool!r} is no name of a tool that `names` accepts"
            if len({name.lower() for name in params}) != len(params):
                yield "mirrored", f"{tool}: a name stands there twice, in two cases"
            for name, path in params.items():
                if not _TOKEN.fullmatch(name) or not path:
                    yield "mirrored", f"{tool}: {name!r}: expected the name of a header, and a path of properties"
