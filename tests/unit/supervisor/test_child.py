"""What a supervisor hands to a worker arrives as it was."""

import os
import pathlib

import msgspec
import pytest

from authz.config.file import load
from authz.config.settings import Config
from authz.supervisor.child import Child
from authz.worker.messages import Begin, Stop

ROOT = pathlib.Path(__file__).parents[3]
RICH = """
[identity]
trust_domain = "demo.internal"
[server]
listen = ["127.0.0.1:0", "unix:/tmp/x.sock"]
workers = "auto"
[server.tls]
certificate = "c.pem"
key = "k.pem"
client_ca = "a.pem"
allowed_callers = ["spiffe://demo.internal/edge"]
[policy]
model = "model.conf"
policies = ["a.csv", "b.csv"]
"""


@pytest.mark.parametrize("text", [(ROOT / "policies" / "authz.toml").read_text(), RICH], ids=["shipped", "rich"])
def test_the_configuration_survives_the_way_to_a_worker(tmp_path, text):
    file = tmp_path / "authz.toml"
    file.write_text(text)
    config = load(file, Config, {}).rooted(tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config


async def test_what_is_said_before_a_worker_is_there_reaches_it(monkeypatch):
    sent = []

    class Recorder:
        def __init__(self, *_):
            pass

        @classmethod
        async def over(cls, end):
            end.close()
            return cls()

        def send(self, message):
            sent.append(type(message).__name__)

        async def receive_by_supervisor(self):
            return None

        async def close(self):
            pass

    monkeypatch.setattr("authz.supervisor.child.Channel", Recorder)
    child = Child(0)
    child.send(Stop())
    lifeline, ours = os.pipe()
    try:
        begin = Begin(0, b"{}", "/", leads=True, epoch=(0, ()), listeners={}, share_port=False, guard=0, proofs=-1)
        await child.run(begin, (), lifeline, lambda _: None)
    finally:
        os.close(lifeline)
        os.close(ours)
    assert sent == ["Begin", "Stop"]
