"""The tools that a request to a model offers or forces, by name."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from authz.actions.shape import a_list, ambiguous, an_object, label, malformed, unknown
from authz.actions.strict_json import refuse_lookalikes
from authz.model import Attributes, Value

_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_FIELDS: Final = frozenset({"type", "name", "function", "custom", "server_label", "server_url", "mcp_server_name"})
_PLAIN: Final = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
_NAMED: Final = frozenset({"function", "custom", "tool", "mcp"})


class Offer(msgspec.Struct):
    """What is offered, gathered while a body is read."""

    names: list[Value] = []
    """Of functions their names; of tools that the provider runs their types; of MCP servers "mcp:LABEL"."""
    hosted: list[Value] = []
    """Types of those that the provider runs itself."""
    servers: list[Value] = []
    """Addresses that the provider is asked to connect to."""

    def note(self, args: Attributes) -> None:
        """Put it where policies read it."""
        args["tools"], args["hosted_tools"] = tuple(self.names), tuple(self.hosted)
        args["servers"] = tuple(self.servers)


def read_tools(tools: Value, offer: Offer) -> None:
    """Add what an array of tools offers; None offers nothing."""
    for each in [] if tools is None else a_list(tools, "`tools`"):
        _read_tool(an_object(each, "a tool"), offer)


def _read_tool(tool: Mapping[str, Value], offer: Offer) -> None:
    refuse_lookalikes(tool, _FIELDS)
    kind = label(tool, "type")
    nested = [name for name in ("function", "custom") if name in tool]
    if len(nested) > 1 or (nested and nested[0] != kind):
        ambiguous("a tool that is of two types")
    if nested:
        inner = an_object(tool[nested[0]], f"`{nested[0]}`")
        refuse_lookalikes(inner, _FIELDS)
        if "name" in tool:
            ambiguous("a tool with two names")
        offer.names.append(tool_name(inner, "name"))
    elif kind in {"", "function", "custom"}:
        offer.names.append(tool_name(tool, "name"))
    elif kind in {"mcp", "mcp_toolset"}:
        server = tool_name(tool, "server_label" if kind == "mcp" else "mcp_server_name")
        offer.names.append(f"mcp:{server}")
        offer.hosted.append(kind)
        note_server(tool, "server_url", offer)
    else:
        # One that the provider brings along, such as web_search: known by its type, whatever it is called.
        offer.names.append(_checked(kind))
        offer.hosted.append(kind)


def note_server(owner: Mapping[str, Value], name: str, offer: Offer) -> None:
    """Add the address of a server; where a provider's own connector is meant there is none."""
    url = owner.get(name)
    if url is not None:
        if type(url) is not str:
            malformed(f"`{name}` is no text")
        offer.servers.append(url)


def read_choice(choice: Value) -> tuple[str, str]:
    """Answer how the model is to choose ("auto", "none", "required", "tool", "allowed", or ""), and the tool forced."""
    if choice is None:
        return "", ""
    if type(choice) is str:
        if choice not in _PLAIN:
            unknown("a `tool_choice` that is not known")
        return _PLAIN[choice], ""
    chosen = an_object(choice, "`tool_choice`")
    refuse_lookalikes(chosen, _FIELDS)
    kind = label(chosen, "type")
    if kind in _PLAIN:
        return _PLAIN[kind], ""
    if kind == "allowed_tools":
        return "allowed", ""
    if kind in _NAMED:
        inner = chosen.get(kind)
        if inner is not None and "name" in chosen:
            ambiguous("a `tool_choice` with two names")
        owner = chosen if inner is None else an_object(inner, f"`{kind}`")
        refuse_lookalikes(owner, _FIELDS)
        return "tool", tool_name(owner, "server_label" if kind == "mcp" else "name")
    return "tool", _checked(kind)


def tool_name(owner: Mapping[str, Value], name: str) -> str:
    """Answer the name of a tool, which must be there."""
    return _checked(label(owner, name))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        malformed("a tool without a name of ASCII letters, digits, `_`, `-`, `.`, `:` and `/`")
    return name
