"""`authz cache stats` reads the admin listener."""

import http.server
import json
import threading

import pytest
from click.testing import CliRunner

from authz.cli.main import cli
from authz.decision.cache import CacheSettings, DecisionCache, Entry, LocalEpoch
from authz.errors import AuthzError, Reason
from authz.model import Decision, Effect, Subject
from authz.telemetry.metrics import Metrics


@pytest.fixture
def admin():
    cache, metrics, snapshot = DecisionCache(CacheSettings(), LocalEpoch()), Metrics("1"), object()
    metrics.watch_cache(cache)
    cache.find(snapshot, ("a",), 0, 1.0)
    cache.keep(snapshot, ("a",), Entry(Decision(Effect.ALLOW, Reason.ALLOWED), (b"x",), Subject(), 1.0, 9.0, 0))
    for _ in range(3):
        cache.find(snapshot, ("a",), 0, 2.0)

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(metrics.render())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_hits_misses_and_their_ratio_are_shown(admin):
    told = json.loads(CliRunner().invoke(cli, ["cache", "stats", "--admin", admin, "--json"]).output)
    assert told["hit_ratio"] == 0.75
    assert (told["hits.allow"], told["misses.absent"], told["entries.allow"]) == (3, 1, 1)
    assert told["invalidations.epoch"] == 0
    assert (told["hit_ratio.(no rule)"], told["policy_decisions..again"]) == (0.75, 3)


def test_people_get_a_table(admin):
    lines = CliRunner().invoke(cli, ["cache", "stats", "--admin", admin]).output.splitlines()
    assert lines[0].split() == ["hit_ratio", "0.7500"]
    assert ["hits.allow", "3"] in [line.split() for line in lines]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/nowhere"])
def test_who_does_not_answer_is_named(address):
    result = CliRunner().invoke(cli, ["cache", "stats", "--admin", address])
    assert isinstance(result.exception, AuthzError)
    assert "admin listener" in str(result.exception)
