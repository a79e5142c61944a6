"""Requests to models: what is offered, forced and bounded, and what is refused because a provider could differ."""

import json

import pytest

from authz.actions.chat.anthropic import AnthropicDecoder
from authz.actions.chat.openai import OpenAiDecoder
from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.errors import Reason, Refusal

TALK = [{"role": "user", "content": "hi"}]
CHAT = {"model": "m", "messages": TALK}
MESSAGES = {"model": "m", "max_tokens": 5, "messages": TALK}
FUNCTION = {"type": "function", "function": {"name": "f"}}


def all_of(decoder, path, body, method="POST", limits=None):
    raw = json.dumps(body).encode()
    message = Message(method, path, "", {}, "application/json", len(raw))
    assert decoder.wants_body(message)
    return decoder.decode(message, raw, limits or Limits())


def openai(body, path="/v1/chat/completions", **kwargs):
    [action] = all_of(OpenAiDecoder(), path, body, **kwargs)
    return action


def anthropic(body, path="/v1/messages", **kwargs):
    [action] = all_of(AnthropicDecoder(), path, body, **kwargs)
    return action


def reason(ask, *args, **kwargs):
    with pytest.raises(Refusal) as refusal:
        ask(*args, **kwargs)
    return refusal.value.reason


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "openai:chat.completions"),
        ("/chat/completions", "openai:chat.completions"),
        ("/gateway/team/v1/chat/completions", "openai:chat.completions"),
    ],
)
def test_the_endpoint_is_the_end_of_the_path(path, name):
    assert openai(CHAT, path).name == name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/x"),
        ("POST", "/v1/chat%2Fcompletions"),
        ("POST", "/v1/Chat/Completions"),
        ("POST", "/v1/files"),
        ("POST", "/v1/messages"),
    ],
)
def test_other_endpoints_are_unknown(method, path):
    assert reason(openai, CHAT, path, method=method) is Reason.BODY_UNKNOWN
    assert reason(anthropic, MESSAGES, path + "/x", method=method) is Reason.BODY_UNKNOWN


def test_tools_of_every_shape_are_named():
    tools = [
        FUNCTION,
        {"type": "function", "name": "g"},
        {"type": "custom", "custom": {"name": "c"}},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "mcp", "server_label": "crm", "connector_id": "connector_x"},
    ]
    args = openai({**CHAT, "tools": tools, "functions": [{"name": "old"}], "web_search_options": {}}).args
    assert args["tools"] == ("f", "g", "c", "code_interpreter", "mcp:crm", "web_search", "old")
    assert args["hosted_tools"] == ("code_interpreter", "mcp", "web_search")


@pytest.mark.parametrize(
    ("choice", "mode", "tool"),
    [
        (None, "", ""),
        ("auto", "auto", ""),
        ("none", "none", ""),
        ("required", "required", ""),
        ({"type": "function", "function": {"name": "f"}}, "tool", "f"),
        ({"type": "function", "name": "f"}, "tool", "f"),
        ({"type": "web_search"}, "tool", "web_search"),
        ({"type": "mcp", "server_label": "crm"}, "tool", "crm"),
        ({"type": "allowed_tools", "mode": "auto", "tools": []}, "allowed", ""),
    ],
)
def test_what_is_forced(choice, mode, tool):
    action = openai({**CHAT, "tools": [FUNCTION], "tool_choice": choice})
    assert (action.args["tool_choice"], action.tool) == (mode, tool)


@pytest.mark.parametrize(
    "body",
    [
        {**CHAT, "tools": [{**FUNCTION, "name": "other"}]},
        {**CHAT, "tools": [{**FUNCTION, "custom": {"name": "other"}}]},
        {**CHAT, "tools": [{"type": "web_search", "function": {"name": "f"}}]},
        {**CHAT, "tools": [{"type": "function", "Function": {"name": "f"}, "name": "g"}]},
        {**CHAT, "tools": [{"type": "function", "function": {"Name": "f"}}]},
        {**CHAT, "tool_choice": {"type": "function", "name": "f", "function": {"name": "g"}}},
        {**CHAT, "tool_choice": {"Type": "function", "name": "f"}},
        {**CHAT, "tool_choice": {"type": "function", "function": {"Name": "f"}}},
        {**CHAT, "tool_choice": "auto", "function_call": {"name": "f"}},
        {**CHAT, "max_tokens": 5, "max_completion_tokens": 50_000},
        {"Model": "gpt-5", "messages": TALK},
        {**CHAT, "Tools": [FUNCTION]},
    ],
)
def test_what_names_two_things_is_ambiguous(body):
    assert reason(openai, body) is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"messages": TALK},
        {"model": "", "messages": TALK},
        {"model": ["m"], "messages": TALK},
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": ["hi"]},
        {"model": "m", "messages": [{"role": "user", "content": [1]}]},
        {"model": "m", "messages": [{"role": 1}]},
        {**CHAT, "stream": "true"},
        {**CHAT, "n": "2"},
        {**CHAT, "max_tokens": 1.5},
        {**CHAT, "tools": {"f": FUNCTION}},
        {**CHAT, "tools": [{"type": "function", "function": {}}]},
        {**CHAT, "tools": [{"type": "function", "name": "f\u200b"}]},
        {**CHAT, "tool_choice": {}},
    ],
)
def test_what_is_not_of_its_shape_is_malformed(body):
    assert reason(openai, body) is Reason.BODY_MALFORMED


def test_an_unknown_choice_is_unknown_and_an_unknown_field_is_told():
    assert reason(openai, {**CHAT, "tool_choice": "maybe"}) is Reason.BODY_UNKNOWN
    assert openai({**CHAT, "zzz": 1, "frobnicate": 2}).args["unknown"] == ("frobnicate", "zzz")
    assert anthropic({**MESSAGES, "frobnicate": 2}).args["unknown"] == ("frobnicate",)


def test_path_and_body_may_not_name_two_models():
    path = "/openai/deployments/prod/chat/completions"
    assert openai({"messages": TALK}, path).resource == {"model": "prod"}
    assert openai({"model": "prod", "messages": TALK}, path).resource == {"model": "prod"}
    assert reason(openai, {"model": "other", "messages": TALK}, path) is Reason.BODY_MISMATCH


def test_what_the_provider_keeps_is_told():
    args = openai({"prompt": {"id": "pmpt_1"}, "conversation": "c"}, "/v1/responses").args
    assert (args["prompt"], args["continues"]) == ("pmpt_1", True)
    assert reason(openai, {"prompt": "x"}, "/v1/completions") is Reason.BODY_MALFORMED
    assert anthropic({**MESSAGES, "container": "c"}).args["continues"] is True


def test_a_batch_of_messages_is_as_many_actions():
    body = {
        "requests": [{"custom_id": "1", "params": MESSAGES}, {"custom_id": "2", "params": {**MESSAGES, "model": "x"}}]
    }
    path = "/v1/messages/batches"
    assert [a.resource["model"] for a in all_of(AnthropicDecoder(), path, body)] == ["m", "x"]
    assert reason(all_of, AnthropicDecoder(), path, body, limits=Limits(max_batch=1)) is Reason.BODY_TOO_LARGE
    body["requests"][1]["Params"] = body["requests"][1].pop("params")
    assert reason(all_of, AnthropicDecoder(), path, body) is Reason.BODY_AMBIGUOUS


def test_tools_of_messages():
    body = {
        **MESSAGES,
        "tools": [{"name": "f", "input_schema": {}}, {"type": "mcp_toolset", "mcp_server_name": "crm"}],
        "mcp_servers": [{"type": "url", "url": "https://crm.demo.internal", "name": "crm"}],
        "tool_choice": {"type": "tool", "name": "f"},
    }
    action = anthropic(body)
    assert action.args["tools"] == ("f", "mcp:crm", "mcp:crm")
    assert (action.tool, action.args["servers"]) == ("f", ("https://crm.demo.internal",))
    body["mcp_servers"][0]["URL"] = body["mcp_servers"][0].pop("url")
    assert reason(anthropic, body) is Reason.BODY_AMBIGUOUS


def test_the_address_of_a_server_is_a_text():
    tool = {"type": "mcp", "server_label": "crm", "server_url": ["https://crm.demo.internal"]}
    assert reason(openai, {**CHAT, "tools": [tool]}) is Reason.BODY_MALFORMED


def test_messages_of_another_shape_are_refused():
    assert reason(anthropic, MESSAGES, method="GET") is Reason.BODY_UNKNOWN
    assert reason(anthropic, {"model": "m", "Messages": TALK}) is Reason.BODY_AMBIGUOUS
    assert reason(anthropic, {**MESSAGES, "Tools": []}) is Reason.BODY_AMBIGUOUS
    assert reason(anthropic, {"max_tokens": 5, "messages": TALK}) is Reason.BODY_MALFORMED
    assert reason(anthropic, {"model": "m", "max_tokens": 5}) is Reason.BODY_MALFORMED
    assert reason(anthropic, {**MESSAGES, "mcp_servers": [{"url": 1, "name": "crm"}]}) is Reason.BODY_MALFORMED
    assert reason(anthropic, {"Requests": []}, "/v1/messages/batches") is Reason.BODY_AMBIGUOUS
    assert not all_of(AnthropicDecoder(), "/v1/messages/batches", {"requests": []})


@pytest.mark.parametrize(
    ("ask", "body", "path"),
    [
        (openai, {**CHAT, "messages": [{"Role": "tool", "content": "x"}]}, "/v1/chat/completions"),
        (openai, {**CHAT, "messages": [{"role": "user", "Content": "x"}]}, "/v1/chat/completions"),
        (openai, {**CHAT, "messages": [{"role": "user", "content": [{"Type": "image_url"}]}]}, "/v1/chat/completions"),
        (openai, {"model": "m", "input": [{"Type": "function_call_output", "output": "x"}]}, "/v1/responses"),
        (openai, {"model": "m", "input": "x", "prompt": {"ID": "p"}}, "/v1/responses"),
        (anthropic, {**MESSAGES, "messages": [{"ROLE": "user", "content": "x"}]}, "/v1/messages"),
        (anthropic, {**MESSAGES, "messages": [{"role": "user", "content": [{"TYPE": "tool_result"}]}]}, "/v1/messages"),
    ],
)
def test_a_field_of_a_message_in_another_case_is_refused_as_one_of_the_request_is(ask, body, path):
    """Some servers take it for the field: what a rule sees of roles, content and results would not be what is used."""
    assert reason(ask, body, path) is Reason.BODY_AMBIGUOUS
