"""An MCP `tools/call` of 2 kB, decided without the cache, beside the same request without a body."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.decision.cache import CacheSettings, DecisionCache, LocalEpoch
from authz.decision.check import Checker
from authz.stores.holder import SnapshotHolder
from bench.inside import BUDGET_SECONDS, Keeper
from bench.timing import Piece, over
from bench.traffic import message, with_headers
from bench.world import Setup, agent, configuration, make_identities

RULES = """
# Added for the benchmark of bodies.
p, agents-post, r.sub.kind == 'agent' && r.act.kind == '', /plain, POST, allow,
p, agents-pay, r.act.name == 'mcp:tools/call:transfer_funds' && r.act.args.amount <= 1000, /mcp, POST, allow,
"""
ROUTES = """
[[actions.routes]]
decoder = "mcp"
path = "/mcp"
"""
BODY_BYTES = 2_000
_ITEM = {"sku": "A-1042", "count": 3, "price": 12.5, "note": "blue, large", "tags": ["gift", "fragile"]}


def tools_call() -> bytes:
    """A call as an agent makes one: an amount, some texts, a list of small objects; as many as make 2 kB."""
    arguments = {"amount": 250, "currency": "EUR", "to": {"account": "42", "name": "Ada"}, "items": []}
    body = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "transfer_funds", "arguments": arguments, "_meta": {"progressToken": 1}},
    }
    while len(json.dumps(body)) < BODY_BYTES:
        arguments["items"].append(_ITEM)
    return json.dumps(body).encode()


def post(certificate: str, path: str, body: bytes) -> bytes:
    """The captured request, as a POST by the first agent; with the headers of MCP whether or not there is a body."""
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
        "mcp-session-id": "1868a90c-4f0c-45c4-bb2c-3f0c45c4bb2c",
    }
    request = CheckRequest.FromString(with_headers(message(certificate, agent(1), path, "POST"), headers))
    http = request.attributes.request.http
    http.raw_body = body
    http.size = len(body)
    return request.SerializeToString(deterministic=True)


def bodies(directory: Path) -> tuple[Mapping[str, Piece], Sequence[tuple[str, str, float]]]:
    """The pieces, and that with a body is at least half as fast as without."""
    directory.mkdir(parents=True)
    identities = make_identities(directory / "pki", 2)
    config = directory / "authz.toml"
    config.write_text(
        configuration(Setup(), identities, directory, f"unix:{directory}/none.sock", principals=2) + ROUTES
    )
    with (directory / "policies" / "policy.csv").open("a") as policy:
        policy.write(RULES)
    composition = Composition(load(config, Config, {}), directory)
    snapshot = composition.build_snapshot()
    keeper = Keeper(composition.config.audit)
    cached = Checker(composition.parts(SnapshotHolder(snapshot), keeper, keeper))
    nothing = DecisionCache(CacheSettings(max_allowed_entries=0, max_denied_entries=0), LocalEpoch())
    uncached = Checker(replace(composition.parts(SnapshotHolder(snapshot), keeper, keeper), cache=nothing))
    body = tools_call()
    asked = {
        "no body, uncached": (uncached, post(identities.agents[1], "/plain", b"")),
        "tools/call, uncached": (uncached, post(identities.agents[1], "/mcp", body)),
        "no body, cached": (cached, post(identities.agents[1], "/plain", b"")),
        "tools/call, cached": (cached, post(identities.agents[1], "/mcp", body)),
    }
    for name, (checker, wanted) in asked.items():
        checker.check(wanted, BUDGET_SECONDS)
        outcome = keeper.outcome
        if outcome is None or not outcome.decision.allowed:
            raise RuntimeError(f"{name}: {outcome and outcome.decision}")
    pieces = {name: over(checker.check, [(wanted, BUDGET_SECONDS)]) for name, (checker, wanted) in asked.items()}
    return pieces, [("tools/call, uncached", "no body, uncached", 2.0)]
