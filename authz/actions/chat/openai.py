"""Requests to OpenAI-style endpoints: `openai:chat.completions`, `openai:responses`, `openai:embeddings`, ...

The endpoint is the end of the path, so that gateways may put anything before it. Source: OpenAI's API reference
(chat completions, responses, completions, embeddings), Azure's paths with `/deployments/NAME`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from authz.actions.chat.messages import content_kinds, in_order, role_of
from authz.actions.chat.tools import Offer, read_choice, read_tools, tool_name
from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.actions.shape import a_list, ambiguous, an_object, flag, label, malformed, mismatch, objects, unknown, whole
from authz.actions.strict_json import read_json, refuse_lookalikes
from authz.model import Action, Attributes, Value

KIND: Final = "openai"
_PATH: Final = re.compile(
    r"(?:/[^/%]+)*?(?:/deployments/(?P<deployment>[^/%]{1,128}))?/(?P<endpoint>chat/completions|responses|completions|embeddings)"
)
_NAMES: Final = {"chat/completions": "chat.completions"}
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_COMMON: Final = frozenset(
    {
        *("model", "stream", "n", "user", "metadata", "store", "temperature", "top_p", "seed", "stop", "service_tier"),
        *("tools", "tool_choice", "parallel_tool_calls", "stream_options", "top_logprobs", "safety_identifier"),
        *("prompt_cache_key", "prompt_cache_retention", "verbosity", *_LIMITS),
    }
)
_FIELDS: Final = {
    "chat/completions": _COMMON
    | {
        *("messages", "functions", "function_call", "response_format", "reasoning_effort", "logprobs", "logit_bias"),
        *("presence_penalty", "frequency_penalty", "modalities", "audio", "prediction", "web_search_options"),
    },
    "responses": _COMMON
    | {
        *("input", "instructions", "previous_response_id", "conversation", "prompt", "include", "reasoning", "text"),
        *("background", "truncation", "max_tool_calls"),
    },
    "completions": _COMMON
    | {"prompt", "best_of", "echo", "suffix", "logprobs", "logit_bias", "presence_penalty", "frequency_penalty"},
    "embeddings": _COMMON | {"input", "encoding_format", "dimensions"},
}
_PROMPT: Final = frozenset({"id"})
_TOOL_RESULTS: Final = re.compile(r"[a-z_]+_call_output")


class OpenAiDecoder:
    """Reads the requests to one endpoint in OpenAI's style."""

    content_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def wants_body(self, message: Message) -> bool:
        """Answer yes.

        Raises:
            Refusal: BODY_UNKNOWN: not a POST to an endpoint that is read.
        """
        if message.method != "POST" or not _PATH.fullmatch(message.path):
            unknown("not a POST to chat/completions, responses, completions or embeddings")
        return True

    def decode(self, message: Message, body: bytes, limits: Limits) -> Sequence[Action]:
        """Answer the one action.

        Raises:
            Refusal: BODY_*: no such request, or one that can be read in two ways.
        """
        found = _PATH.fullmatch(message.path)
        if found is None:
            unknown("no path of an endpoint that is read")
        endpoint, deployment = found["endpoint"], found["deployment"] or ""
        asked = an_object(read_json(body, limits.json), "the body")
        known = _FIELDS[endpoint]
        refuse_lookalikes(asked, known)
        # A prompt kept with the provider may bring the model along.
        optional = endpoint == "responses" and asked.get("prompt") is not None
        model = _model(asked, deployment, optional=optional)
        args: Attributes = {
            "stream": flag(asked, "stream"),
            "store": flag(asked, "store"),
            "n": whole(asked, "n") or 1,
            "unknown": in_order(asked.keys() - known),
        }
        _note_max_tokens(asked, args)
        mode, tool = _note_tools(asked, args)
        args["tool_choice"] = mode
        if endpoint == "chat/completions":
            _note_messages(objects(asked, "messages"), args)
        elif endpoint == "responses":
            _note_input(asked, args)
        return (
            Action(f"{KIND}:{_NAMES.get(endpoint, endpoint)}", args, KIND, tool, {"model": model} if model else {}),
        )


def _model(asked: Mapping[str, Value], deployment: str, *, optional: bool) -> str:
    model = label(asked, "model")
    if deployment:
        # Azure goes by the path; where others go by the body, both say the same or are refused.
        if model not in {"", deployment}:
            mismatch("path and body name two models")
        return deployment
    if not model and not optional:
        malformed("no model")
    return model


def _note_max_tokens(asked: Mapping[str, Value], args: Attributes) -> None:
    given = {number for name in _LIMITS if (number := whole(asked, name)) is not None}
    if len(given) > 1:
        ambiguous("two bounds on the number of tokens")
    if given:
        args["max_tokens"] = given.pop()


def _note_tools(asked: Mapping[str, Value], args: Attributes) -> tuple[str, str]:
    offer = Offer()
    read_tools(asked.get("tools"), offer)
    if asked.get("web_search_options") is not None:
        offer.names.append("web_search")
        offer.hosted.append("web_search")
    for function in objects(asked, "functions"):
        offer.names.append(tool_name(function, "name"))
    offer.note(args)
    mode, tool = read_choice(asked.get("tool_choice"))
    old = asked.get("function_call")
    if old is not None:
        if mode:
            ambiguous("`tool_choice` and `function_call`")
        if type(old) is str:
            return read_choice(old)
        return "tool", tool_name(an_object(old, "`function_call`"), "name")
    return mode, tool


def _note_messages(messages: list[Mapping[str, Value]], args: Attributes) -> None:
    if not messages:
        malformed("no messages")
    roles = [role_of(each) for each in messages]
    args["messages"] = len(messages)
    args["roles"] = in_order(roles)
    args["tool_results"] = sum(role in {"tool", "function"} for role in roles)
    args["content"] = in_order({kind for each in messages for kind in content_kinds(each.get("content"))})


def _note_input(asked: Mapping[str, Value], args: Attributes) -> None:
    given = asked.get("input")
    items = (
        [an_object(each, "an element of `input`") for each in a_list(given, "`input`")]
        if given is not None and type(given) is not str
        else []
    )
    args["messages"] = len(items) if items else int(given is not None)
    args["roles"] = in_order({role for each in items if (role := role_of(each))}) if items else ("user",)
    args["tool_results"] = sum(bool(_TOOL_RESULTS.fullmatch(label(each, "type"))) for each in items)
    args["content"] = in_order({kind for each in items for kind in content_kinds(each.get("content"))}) or ("text",)
    # What is kept with the provider takes part, and cannot be seen here.
    args["continues"] = any(asked.get(name) is not None for name in ("previous_response_id", "conversation"))
    if asked.get("prompt") is not None:
        prompt = an_object(asked["prompt"], "`prompt`")
        refuse_lookalikes(prompt, _PROMPT)
        args["prompt"] = label(prompt, "id")
    if asked.get("background") is not None:
        args["background"] = flag(asked, "background")
