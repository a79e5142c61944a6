"""A2A: what each binding and revision asks for, and what is refused because a server could read it otherwise."""

import json

import pytest

from authz.actions.a2a.decoder import A2aDecoder
from authz.actions.a2a.settings import A2aSettings
from authz.actions.decoder import Message
from authz.actions.limits import Limits
from authz.errors import Reason, Refusal

PARTS = [{"text": "hello"}]
SEND = {"message": {"messageId": "1", "role": "ROLE_USER", "parts": PARTS}}
JSON = "application/json"


def ask(body=None, *, method="POST", path="/a2a", query="", headers=None, grpc=False, size=None, settings=None):
    decoder = A2aDecoder(settings or A2aSettings())
    raw = b"" if body is None else json.dumps(body).encode()
    message = Message(method, path, query, headers or {}, JSON, len(raw) if size is None else size, grpc=grpc)
    wanted = decoder.wants_body(message)
    [action] = decoder.decode(message, raw if wanted else b"", Limits())
    return action


def rpc(method, params=None, **more):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}, **more}


def reason(*args, **kwargs):
    with pytest.raises(Refusal) as refusal:
        ask(*args, **kwargs)
    return refusal.value.reason


def test_grpc_is_read_from_its_path():
    action = ask(path="/lf.a2a.v1.A2AService/SendMessage", grpc=True)
    assert (action.name, action.args["binding"]) == ("a2a:SendMessage", "grpc")
    assert reason(path="/lf.a2a.v1.A2AService/Other", grpc=True) is Reason.BODY_UNKNOWN
    assert reason(path="/x.A2AService/SendMessage", grpc=True) is Reason.BODY_UNKNOWN


def test_old_and_new_names_are_one_action():
    old = {"message": {"role": "user", "parts": [{"kind": "text", "text": "x"}], "kind": "message"}}
    assert ask(rpc("message/send", old)).name == ask(rpc("SendMessage", SEND)).name == "a2a:SendMessage"


def test_a_skill_is_named_by_metadata_and_must_be_named_once():
    sent = {"message": {**SEND["message"], "metadata": {"skill": "book"}}}
    assert ask(rpc("SendMessage", sent)).tool == "book"
    assert ask(rpc("SendMessage", {**SEND, "metadata": {"skill": "book"}})).name == "a2a:SendMessage:book"
    assert ask(rpc("SendMessage", {**sent, "metadata": {"skill": "book"}})).tool == "book"
    assert (
        ask(rpc("SendMessage", {**sent, "metadata": {"skill": "pay"}}), settings=A2aSettings(skill_key="")).tool == ""
    )
    assert reason(rpc("SendMessage", {**sent, "metadata": {"skill": "pay"}})) is Reason.BODY_MISMATCH
    for metadata in ({"Skill": "book"}, {"skill": "bo ok"}, {"skill": "b\u043eok"}, {"skill": ["book"]}):
        assert reason(rpc("SendMessage", {**SEND, "metadata": metadata})) is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    "params",
    [
        {"message": {**SEND["message"], "task_id": "t"}},
        {"message": {**SEND["message"], "TaskId": "t"}},
        {"message": {**SEND["message"], "context_id": "t"}},
        {**SEND, "Message": {}},
        {**SEND, "Tenant": "x"},
        {**SEND, "configuration": {"task_push_notification_config": {"url": "https://evil.demo.internal"}}},
        {**SEND, "configuration": {"taskPushNotificationConfig": {"URL": "https://evil.demo.internal"}}},
        {"message": {**SEND["message"], "parts": [{"text": "x", "Raw": "eA=="}]}},
        {
            **SEND,
            "configuration": {"taskPushNotificationConfig": {"url": "a"}, "pushNotificationConfig": {"url": "b"}},
        },
    ],
)
def test_a_field_that_protobuf_takes_under_another_spelling_is_refused(params):
    assert reason(rpc("SendMessage", params)) is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    "body",
    [
        rpc("SendMessage"),
        rpc("SendMessage", {"message": {"parts": []}}),
        rpc("SendMessage", {"message": {"parts": [{}]}}),
        rpc("SendMessage", {"message": {"parts": [{"text": "x", "data": {}}]}}),
        rpc("SendMessage", {"message": {"parts": ["text"]}}),
        rpc("SendMessage", {"message": {"parts": PARTS, "taskId": 7}}),
        rpc("SendMessage", {"message": {"parts": [{"url": {"x": 1}}]}}),
        rpc("GetTask"),
        rpc("GetTask", {"id": ["a"]}),
        rpc("GetTask", {"id": "a\u200bb"}),
        rpc("GetTaskPushNotificationConfig", {"id": "only-the-config"}),
        {"method": "GetTask"},
        rpc("GetTask", {"id": "x"}, more="CancelTask"),
        rpc("GetTask", {"id": "x"}, id=None),
        "GetTask",
    ],
)
def test_what_is_not_of_its_shape_is_malformed(body):
    assert reason(body) is Reason.BODY_MALFORMED


@pytest.mark.parametrize(
    "body",
    [
        rpc("tasks/delete", {"id": "x"}),
        rpc("sendMessage", SEND),
        rpc("GETTASK", {"id": "x"}),
        [rpc("GetTask", {"id": "x"})],
        {"jsonrpc": "2.0", "method": "GetTask", "params": {"id": "x"}},
        rpc("message/send", {"message": {"parts": [{"kind": "image", "image": "x"}]}}),
    ],
)
def test_what_a2a_does_not_have_is_unknown(body):
    assert reason(body) is Reason.BODY_UNKNOWN


def test_an_inner_configuration_is_held_to_spelling_too():
    inner = {"taskId": "t", "pushNotificationConfig": {"URL": "https://evil.demo.internal"}}
    assert reason(rpc("tasks/pushNotificationConfig/set", inner)) is Reason.BODY_AMBIGUOUS


def test_a_part_of_two_kinds_is_refused():
    part = {"kind": "text", "text": "x", "data": {"amount": 1}}
    assert reason(rpc("message/send", {"message": {"parts": [part]}})) is Reason.BODY_AMBIGUOUS


def test_the_task_of_an_old_configuration_is_where_the_server_looks():
    ids = {"id": "a", "taskId": "b"}
    assert ask(rpc("tasks/pushNotificationConfig/set", ids)).resource == {"task": "b"}
    assert ask(rpc("tasks/pushNotificationConfig/get", ids)).resource == {"task": "a"}
    assert ask(rpc("GetTaskPushNotificationConfig", ids)).resource == {"task": "b"}


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/message:send", "SendMessage"),
        ("POST", "/tenant-1/v1/message:stream", "SendStreamingMessage"),
        ("GET", "/a2a/tasks/t1", "GetTask"),
        ("GET", "/tasks", "ListTasks"),
        ("POST", "/tasks/t1:cancel", "CancelTask"),
        ("GET", "/tasks/t1:subscribe", "SubscribeToTask"),
        ("DELETE", "/tasks/t1/pushNotificationConfigs/c", "DeleteTaskPushNotificationConfig"),
        ("GET", "/v1/card", "GetExtendedAgentCard"),
        ("GET", "/.well-known/agent-card.json", "GetAgentCard"),
    ],
)
def test_the_rest_binding_is_read_from_its_path(method, path, name):
    body = SEND if "message" in path else None
    assert ask(body, method=method, path=path).name == f"a2a:{name}"


@pytest.mark.parametrize("path", ["/message%3Asend", "/tasks/1%3Acancel", "/tasks/1%2F2", "/%74asks/1"])
def test_an_escape_that_a_server_would_decode_is_refused(path):
    body = rpc("GetTask", {"id": "x"})
    assert reason(body, path=path) is Reason.BODY_AMBIGUOUS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/tasks/t:delete"),
        ("POST", "/tasks/t"),
        ("POST", "/message:Send"),
        ("PUT", "/tasks/t"),
        ("GET", "/a2a"),
        ("POST", "/tasks/t/pushNotificationConfigs/c"),
        ("POST", "/extendedAgentCard"),
    ],
)
def test_a_path_that_only_looks_like_one_is_not_taken_for_json_rpc(method, path):
    assert reason(rpc("GetTask", {"id": "x"}), method=method, path=path) is Reason.BODY_UNKNOWN


def test_path_query_and_body_may_not_contradict_each_other():
    assert reason({"id": "b"}, path="/tasks/a:cancel") is Reason.BODY_MISMATCH
    assert reason({**rpc("GetTask"), **SEND}, path="/message:send") is Reason.BODY_MISMATCH
    assert reason({"taskId": "b"}, path="/tasks/a/pushNotificationConfigs") is Reason.BODY_MISMATCH
    assert reason(method="GET", path="/tasks/a", query="id=b") is Reason.BODY_AMBIGUOUS
    assert reason(method="GET", path="/tasks/a", query="task_id=b") is Reason.BODY_AMBIGUOUS
    assert reason(method="GET", path="/tasks", query="contextId=a&contextId=b") is Reason.BODY_AMBIGUOUS
    assert reason(method="GET", path="/tasks", query="contextId=a&context_id=b") is Reason.BODY_AMBIGUOUS
    assert reason(SEND, path="/message:send", query="message=x") is Reason.BODY_AMBIGUOUS
    assert reason(method="GET", path="/tasks/a", size=5) is Reason.BODY_MALFORMED
    assert reason(method="GET", path="/tasks", query="contextId=%ff") is Reason.BODY_MALFORMED
    assert ask(method="GET", path="/tasks", query="contextId=c1").resource == {"context": "c1"}


def test_the_version_told_must_fit_what_is_spoken():
    old, new = rpc("tasks/get", {"id": "x"}), rpc("GetTask", {"id": "x"})
    assert ask(old, headers={"a2a-version": "0.3"}).args["version"] == "0.3"
    assert ask(new, headers={"a2a-version": "1.0"}).args["version"] == "1.0"
    assert reason(old, headers={"a2a-version": "1.0"}) is Reason.BODY_MISMATCH
    assert reason(new, headers={"a2a-version": "0.3"}) is Reason.BODY_MISMATCH
    assert reason(new, headers={"a2a-version": "2.0"}) is Reason.BODY_UNKNOWN
    assert reason(new, headers={"a2a-version": "1.0"}, query="A2A-Version=0.3") is Reason.BODY_MISMATCH
    assert reason(old, settings=A2aSettings(versions=("1.0",))) is Reason.BODY_UNKNOWN


@pytest.mark.parametrize("path", ["/b/message:send", "/message:send", "/a/v1/message:send"])
def test_a_tenant_of_the_rest_binding_is_the_one_in_the_path(path):
    """The SDK's server goes by the path alone: a rule on `r.act.args.tenant` would be about another one."""
    assert reason({**SEND, "tenant": "a"}, path=path) is Reason.BODY_MISMATCH
    listed = path.replace("message:send", "tasks")
    assert reason(method="GET", path=listed, query="tenant=a") is Reason.BODY_MISMATCH


def test_a_tenant_that_path_and_body_name_is_seen():
    assert ask({**SEND, "tenant": "a"}, path="/v1/a/message:send").args["tenant"] == "a"
    assert ask(method="GET", path="/a/tasks", query="tenant=a").args["tenant"] == "a"
    assert "tenant" not in ask(SEND, path="/a/message:send").args
    assert ask(rpc("SendMessage", {**SEND, "tenant": "a"})).args["tenant"] == "a"


def test_a_semicolon_in_the_query_is_refused_for_some_servers_read_another_parameter_behind_it():
    assert reason(method="GET", path="/tasks", query="status=x;contextId=other") is Reason.BODY_AMBIGUOUS


def test_the_address_of_a_file_in_another_case_is_refused_for_it_would_not_be_seen():
    part = {"kind": "file", "file": {"uri": "https://x.example/a"}}
    sent = {"message": {"role": "user", "kind": "message", "parts": [part]}}
    assert ask(rpc("message/send", sent)).args["urls"] == ("https://x.example/a",)
    part["file"] = {"URI": "https://x.example/a"}
    assert reason(rpc("message/send", sent)) is Reason.BODY_AMBIGUOUS
