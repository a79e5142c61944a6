"""Requests to Anthropic-style endpoints: `anthropic:messages`, `anthropic:messages.count_tokens`.

A batch (`messages/batches`) is as many `anthropic:messages` as it holds. Source: Anthropic's API reference (messages,
count tokens, message batches, MCP connector).
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from authz.actions.chat.messages import content_kinds, in_order, role_of
from authz.actions.chat.tools import Offer, note_server, read_choice, read_tools, tool_name
from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.actions.shape import an_object, flag, label, malformed, objects, unknown, whole
from authz.actions.strict_json import read_json, refuse_lookalikes
from authz.errors import Reason, Refusal
from authz.model import Action, Attributes, Value

KIND: Final = "anthropic"
_PATH: Final = re.compile(r"(?:/[^/%]+)*?/(messages(?:/count_tokens|/batches)?)")
_FIELDS: Final = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "stream", "tools", "tool_choice", "metadata", "stop_sequences"),
        *("temperature", "top_p", "top_k", "thinking", "service_tier", "mcp_servers", "container"),
        *("context_management", "output_config", "output_format", "cache_control", "inference_geo", "speed"),
    }
)
_TOOL_RESULTS: Final = re.compile(r"[a-z_]*tool_result")


class AnthropicDecoder:
    """Reads the requests to one endpoint in Anthropic's style."""

    content_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def wants_body(self, message: Message) -> bool:
        """Answer yes.

        Raises:
            Refusal: BODY_UNKNOWN: not a POST to an endpoint that is read.
        """
        if message.method != "POST" or not _PATH.fullmatch(message.path):
            unknown("not a POST to messages, messages/count_tokens or messages/batches")
        return True

    def decode(self, message: Message, body: bytes, limits: Limits) -> Sequence[Action]:
        """Answer the one action, or those of a batch.

        Raises:
            Refusal: BODY_*: no such request, or one that can be read in two ways.
        """
        found = _PATH.fullmatch(message.path)
        if found is None:
            unknown("no path of an endpoint that is read")
        asked = an_object(read_json(body, limits.json), "the body")
        if found[1] != "messages/batches":
            return (_action(asked, found[1].replace("/", ".")),)
        refuse_lookalikes(asked, frozenset({"requests"}))
        requests = objects(asked, "requests")
        if len(requests) > limits.max_batch:
            raise Refusal(Reason.BODY_TOO_LARGE, "more requests than `actions.limits.max_batch`")
        for each in requests:
            refuse_lookalikes(each, frozenset({"params"}))
        return tuple(_action(an_object(each.get("params"), "`params`"), "messages") for each in requests)


def _action(asked: Mapping[str, Value], name: str) -> Action:
    refuse_lookalikes(asked, _FIELDS)
    model, messages = label(asked, "model"), objects(asked, "messages")
    if not model or not messages:
        malformed("no model, or no messages")
    offer = Offer()
    read_tools(asked.get("tools"), offer)
    for server in objects(asked, "mcp_servers"):
        refuse_lookalikes(server, frozenset({"url", "name"}))
        offer.names.append(f"mcp:{tool_name(server, 'name')}")
        offer.hosted.append("mcp")
        note_server(server, "url", offer)
    mode, tool = read_choice(asked.get("tool_choice"))
    kinds = [kind for each in messages for kind in content_kinds(each.get("content"))]
    args: Attributes = {
        "stream": flag(asked, "stream"),
        "messages": len(messages),
        "roles": in_order(role_of(each) for each in messages),
        "tool_results": sum(bool(_TOOL_RESULTS.fullmatch(kind)) for kind in kinds),
        "content": in_order(kinds),
        "tool_choice": mode,
        "continues": asked.get("container") is not None,
        "unknown": in_order(asked.keys() - _FIELDS),
    }
    offer.note(args)
    if (tokens := whole(asked, "max_tokens")) is not None:
        args["max_tokens"] = tokens
    return Action(f"{KIND}:{name}", args, KIND, tool, {"model": model})
