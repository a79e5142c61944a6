"""What real clients of A2A, OpenAI and Anthropic send (tests/corpus/actions/make.py) is read as what it asks for."""

import json
import pathlib

import msgspec
import pytest

from authz.actions.builtin import BUILT_IN
from authz.actions.decoder import Message
from authz.actions.limits import Limits

CORPUS = pathlib.Path(__file__).parents[2] / "corpus" / "actions"
REQUESTS = {request["name"]: request for request in json.loads((CORPUS / "requests.json").read_text())}
ACTIONS = json.loads((CORPUS / "actions.json").read_text())
MADE = {name: BUILT_IN[name]() for name in ("a2a", "openai", "anthropic")}


def test_every_caught_request_has_its_actions_written_down():
    assert REQUESTS.keys() == ACTIONS.keys()
    assert len(REQUESTS) > 40


@pytest.mark.parametrize("name", REQUESTS)
def test_the_actions_of_a_real_request(name):
    request = REQUESTS[name]
    decoder = MADE[name.split()[0].replace("azure", "openai")]
    body = request["body"].encode()
    content_type = request["headers"].get("content-type", "")
    message = Message(request["method"], request["path"], request["query"], request["headers"], content_type, len(body))
    wanted = decoder.wants_body(message)
    assert wanted == bool(body)
    assert not wanted or content_type in decoder.content_types
    found = [
        {"name": action.name, "args": action.args, "tool": action.tool, "resource": action.resource}
        for action in decoder.decode(message, body, Limits())
    ]
    assert json.loads(msgspec.json.encode(found)) == ACTIONS[name]
    assert all(action["name"].startswith(f"{decoder_kind(name)}:") for action in found)


def decoder_kind(name):
    return name.split()[0].replace("azure", "openai")


def test_no_text_of_a_message_is_kept():
    shown = (CORPUS / "actions.json").read_text()
    for text in ("Zürich", "nights", "Weather", "12", "You help"):
        assert text not in shown
