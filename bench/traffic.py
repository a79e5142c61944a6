"""The requests: a CheckRequest of a real Envoy with the shipped configuration, edited so that principals, paths and ids
vary. Every principal comes over a connection of its own.

Four kinds of traffic, each a deck of requests with the right answer on every card:

- hit: a hundred requests over and over; only request ids differ.
- miss: another resource in every request, under a policy that reads it; nothing can be reused.
- mixed: principals and resources drawn by Zipf's law, out of 1,000 and 1,000,000; reads, documents, and denials.
- denial: cardholder data, which an explicit rule denies to agents; ids drawn as in mixed.

And one for scale: each, where all principals take turns.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from bench.frames import ID_SLOT, REQUEST_SLOT, Card, check_card
from bench.stats import Zipf
from bench.world import HOST, ROOT, Identities, agent, cleared, pki

CAPTURE = ROOT / "bench" / "check_request.bin"
ALLOW, DENY = 0, 7
FIRST_PORT = 30_000
EVERY_TIME = -1
"""As a resource id: another one in every request."""
KINDS = ("hit", "miss", "mixed", "denial")
HOT = 100
"""Distinct requests of the kind hit."""
RESOURCES = 1_000_000
DRAWN = 50_000
"""How many requests of the mixed kinds are drawn before they repeat (with new request ids)."""
PRINCIPAL_EXPONENT, RESOURCE_EXPONENT = 1.0, 0.8
SEED = 20_240_229
TEAMS_WITH_DOCUMENTS = 3
_ID, _REQUEST = ID_SLOT.decode(), REQUEST_SLOT.decode()


@dataclass(frozen=True, slots=True)
class Traffic:
    """A deck, not yet dealt."""

    cards: tuple[Card, ...]
    order: tuple[tuple[int, int], ...]


@lru_cache(maxsize=1)
def _captured() -> bytes:
    return Path(CAPTURE).read_bytes()


def message(certificate: str, spiffe_id: str, path: str, method: str = "GET", number: int = 0) -> bytes:
    """The captured request, as if this principal, the `number`-th, had asked for this path."""
    request = CheckRequest.FromString(_captured())
    attributes = request.attributes
    attributes.source.address.socket_address.port_value = FIRST_PORT + number % FIRST_PORT
    attributes.source.principal = spiffe_id
    attributes.source.certificate = quote(certificate, safe="")
    attributes.destination.principal = pki.EDGE
    attributes.tls_session.sni = HOST
    http = attributes.request.http
    http.id = f"6837343{_REQUEST}"
    http.method, http.path, http.host = method, path, HOST
    digest = "e658b857485cbf76f5f4c3b98d0e93f388cba4660cec565488f9dd83f66f84d8"
    said = {
        ":path": path,
        ":method": method,
        ":authority": HOST,
        "x-request-id": f"1d13164a-3f0c-45c4-bb2c-{_REQUEST}",
        "x-forwarded-client-cert": f'By={pki.EDGE};Hash={digest};Subject="CN=workload,O=demo";URI={spiffe_id}',
    }
    for header in http.header_map.headers:
        header.raw_value = said.get(header.key, header.raw_value.decode()).encode()
    return request.SerializeToString(deterministic=True)


def with_headers(octets: bytes, headers: dict[str, str]) -> bytes:
    """A message with more of them."""
    request = CheckRequest.FromString(octets)
    for name, value in headers.items():
        request.attributes.request.http.header_map.headers.add(key=name, raw_value=value.encode())
    return request.SerializeToString(deterministic=True)


def as_map(octets: bytes) -> bytes:
    """A message as it is without `encode_raw_headers`."""
    request = CheckRequest.FromString(octets)
    http = request.attributes.request.http
    for header in http.header_map.headers:
        http.headers[header.key] = header.raw_value.decode()
    http.ClearField("header_map")
    return request.SerializeToString(deterministic=True)


def may_read_documents(number: int) -> bool:
    """Whether this agent's team is one of those that the rule names."""
    return number % 7 < TEAMS_WITH_DOCUMENTS


PATHS = (f"/v1/accounts/{_ID}/charges", f"/v1/documents/{_ID}/text", f"/v1/accounts/{_ID}/cards/1")
_SHARES = (0, 0, 0, 0, 0, 0, 0, 1, 1, 2)
"""Of ten mixed requests, which path each asks for."""


def expected(number: int, path: int) -> int:
    """The right answer to agent `number` at PATHS[path]."""
    allowed = (cleared(number), may_read_documents(number), False)[path]
    return ALLOW if allowed else DENY


def card(identities: Identities, number: int, path: int) -> Card:
    """Agent `number` asking for PATHS[path]."""
    certificate = identities.agents[number]
    return check_card(message(certificate, agent(number), PATHS[path], number=number), expected(number, path))


def ever_new(identities: Identities, count: int) -> Iterator[tuple[Card, int]]:
    """(card, resource id) of requests such as mixed, each id drawn evenly out of a million: hardly any comes twice."""
    principals = Zipf(len(identities.agents), PRINCIPAL_EXPONENT, SEED)
    resources = random.Random(SEED)
    known: dict[tuple[int, int], Card] = {}
    for turn in range(count):
        asked = (principals.draw(), _SHARES[turn % len(_SHARES)])
        if asked not in known:
            known[asked] = card(identities, *asked)
        yield known[asked], resources.randrange(RESOURCES)


def traffic(kind: str, identities: Identities) -> Traffic:
    """The deck of one kind."""
    agents = len(identities.agents)
    hot = [number for number in range(agents) if cleared(number)][:HOT]
    if kind in ("hit", "miss"):
        cards = tuple(card(identities, number, 0) for number in hot)
        return Traffic(cards, tuple((n, n if kind == "hit" else EVERY_TIME) for n in range(len(hot))))
    if kind == "each":
        cards = tuple(card(identities, number, 0) for number in range(agents))
        return Traffic(cards, tuple((n, n) for n in range(agents)))
    principals = Zipf(agents, PRINCIPAL_EXPONENT, SEED)
    resources = Zipf(RESOURCES, RESOURCE_EXPONENT, SEED + 1)
    cards: list[Card] = []
    known: dict[tuple[int, int], int] = {}
    order = []
    for turn in range(DRAWN):
        asked = (principals.draw(), 2 if kind == "denial" else _SHARES[turn % len(_SHARES)])
        if asked not in known:
            known[asked] = len(cards)
            cards.append(card(identities, *asked))
        order.append((known[asked], resources.draw()))
    return Traffic(tuple(cards), tuple(order))
