"""Writes requests.json: what the real clients send, caught before it goes out. Run in an environment of its own:

pip install a2a-sdk==1.3.0 openai==3.57.0 anthropic==2.14.0 && python tests/corpus/actions/make.py
"""

# ruff: noqa: E501, E731, T201, BLE001 - a script of calls, one a line; clients wrap what the catcher raises

import asyncio
import json
import pathlib

import anthropic
import httpx
import httpx2
import openai
from a2a.client.transports.jsonrpc import JsonRpcTransport
from a2a.client.transports.rest import RestTransport
from a2a.compat.v0_3.jsonrpc_transport import CompatJsonRpcTransport
from a2a.types import a2a_pb2 as a2a
from google.protobuf.json_format import ParseDict

HERE = pathlib.Path(__file__).parent
WEATHER = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
SENT = {
    "message": {
        "messageId": "m-1",
        "taskId": "task-7",
        "contextId": "ctx-3",
        "role": "ROLE_USER",
        "parts": [
            {"text": "book a flight to Zürich"},
            {"data": {"amount": 120.5, "nights": 2}},
            {"url": "https://files.demo.internal/itinerary.pdf", "mediaType": "application/pdf"},
        ],
        "metadata": {"skill": "book_flight"},
    },
    "configuration": {
        "acceptedOutputModes": ["text/plain"],
        "taskPushNotificationConfig": {"url": "https://planner.demo.internal/hook", "token": "t"},
    },
}
caught = []


class Caught(Exception):
    pass


def catcher(name):
    def handle(request):
        caught.append(
            {
                "name": name,
                "method": request.method,
                "path": request.url.path,
                "query": request.url.query.decode(),
                "headers": {k: v for k, v in request.headers.items() if k in {"content-type", "a2a-version"}},
                "body": request.content.decode(),
            }
        )
        raise Caught

    return handle


def openai_calls():
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
    called = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"location":"Bern"}'},
    }
    talk = [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}, {"type": "image_url", "image_url": {"url": "https://x.demo.internal/a.png"}}]},
    ]  # fmt: skip
    client = lambda name: openai.OpenAI(
        api_key="k", max_retries=0, http_client=httpx.Client(transport=httpx.MockTransport(catcher(name)))
    )
    yield "openai chat", lambda n: client(n).chat.completions.create(model="gpt-5", messages=talk)
    yield "openai chat tools", lambda n: client(n).chat.completions.create(
        model="gpt-5",
        messages=[*talk, {"role": "assistant", "tool_calls": [called]}, {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"}],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        stream=True,
        max_completion_tokens=200,
        temperature=0.2,
    )  # fmt: skip
    yield "openai responses", lambda n: client(n).responses.create(
        model="gpt-5",
        input=[
            {"role": "user", "content": "Weather?"},
            {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "12"},
        ],
        tools=[
            {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True},
            {"type": "web_search"},
            {"type": "mcp", "server_label": "crm", "server_url": "https://crm.demo.internal/mcp", "require_approval": "never"},
        ],
        previous_response_id="resp_1",
        max_output_tokens=50,
    )  # fmt: skip
    yield "openai responses text", lambda n: client(n).responses.create(model="gpt-5", input="Hi")
    yield "openai embeddings", lambda n: client(n).embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    azure = lambda n: openai.AzureOpenAI(
        api_key="k", api_version="2024-10-21", azure_endpoint="https://a.demo.internal", max_retries=0,
        http_client=httpx.Client(transport=httpx.MockTransport(catcher(n))),
    )  # fmt: skip
    yield "azure chat", lambda n: azure(n).chat.completions.create(model="prod-gpt", messages=talk)


def anthropic_calls():
    client = lambda name: anthropic.Anthropic(
        api_key="k", max_retries=0, http_client=httpx2.Client(transport=httpx2.MockTransport(catcher(name)))
    )
    base = {"model": "claude-sonnet-4-5", "max_tokens": 256}
    ask = [{"role": "user", "content": "Weather?"}]
    tool = {"name": "get_weather", "description": "d", "input_schema": WEATHER}
    yield "anthropic messages", lambda n: client(n).messages.create(**base, messages=ask)
    yield "anthropic tools", lambda n: client(n).messages.create(
        **base,
        messages=[
            *ask,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "get_weather", "input": {"location": "Bern"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "12"}, {"type": "text", "text": "so?"}]},
        ],
        tools=[tool, {"type": "web_search_20250305", "name": "web_search"}],
        tool_choice={"type": "tool", "name": "get_weather"},
        stream=True,
        system="You help.",
    )  # fmt: skip
    yield (
        "anthropic mcp",
        lambda n: client(n).beta.messages.create(
            **base, messages=ask, mcp_servers=[{"type": "url", "url": "https://crm.demo.internal/mcp", "name": "crm"}]
        ),
    )
    yield (
        "anthropic count",
        lambda n: client(n).messages.count_tokens(
            model=base["model"], messages=ask, tools=[tool], tool_choice={"type": "any"}
        ),
    )
    yield (
        "anthropic batch",
        lambda n: client(n).messages.batches.create(
            requests=[{"custom_id": str(i), "params": {**base, "messages": ask}} for i in range(2)]
        ),
    )


async def a2a_calls():
    card = a2a.AgentCard(name="x")
    card.capabilities.extended_agent_card = True
    send = ParseDict(SENT, a2a.SendMessageRequest())
    calls = [
        ("send", lambda t: t.send_message(send)),
        ("get", lambda t: t.get_task(a2a.GetTaskRequest(id="task-7", history_length=3))),
        ("list", lambda t: t.list_tasks(a2a.ListTasksRequest(context_id="ctx-3", page_size=10))),
        ("cancel", lambda t: t.cancel_task(a2a.CancelTaskRequest(id="task-7"))),
        ("push set", lambda t: t.create_task_push_notification_config(a2a.TaskPushNotificationConfig(task_id="task-7", id="p1", url="https://h.demo.internal/"))),
        ("push get", lambda t: t.get_task_push_notification_config(a2a.GetTaskPushNotificationConfigRequest(task_id="task-7", id="p1"))),
        ("push list", lambda t: t.list_task_push_notification_configs(a2a.ListTaskPushNotificationConfigsRequest(task_id="task-7"))),
        ("push delete", lambda t: t.delete_task_push_notification_config(a2a.DeleteTaskPushNotificationConfigRequest(task_id="task-7", id="p1"))),
        ("card", lambda t: t.get_extended_agent_card(a2a.GetExtendedAgentCardRequest())),
    ]  # fmt: skip
    streams = [
        ("stream", lambda t: t.send_message_streaming(send)),
        ("subscribe", lambda t: t.subscribe(a2a.SubscribeToTaskRequest(id="task-7"))),
    ]
    for binding, make in (
        ("1.0 jsonrpc", JsonRpcTransport),
        ("1.0 rest", RestTransport),
        ("0.3 jsonrpc", CompatJsonRpcTransport),
    ):
        for name, call in calls:
            await attempt(f"a2a {binding} {name}", make, card, call, stream=False)
        for name, call in streams:
            await attempt(f"a2a {binding} {name}", make, card, call, stream=True)


async def attempt(name, make, card, call, *, stream):
    async with httpx.AsyncClient(transport=httpx.MockTransport(catcher(name))) as client:
        transport = make(client, card, "https://agent.demo.internal/a2a")
        before = len(caught)
        try:
            if stream:
                async for _ in call(transport):
                    pass
            else:
                await call(transport)
        except Exception as error:
            if len(caught) == before:
                print("not caught:", name, repr(error))


def main():
    for calls in (openai_calls(), anthropic_calls()):
        for name, call in calls:
            before = len(caught)
            try:
                call(name)
            except Exception as error:
                if len(caught) == before:
                    print("not caught:", name, repr(error))
    asyncio.run(a2a_calls())
    (HERE / "requests.json").write_text(json.dumps(caught, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
