"""One GraphQL request over HTTP: the document, the operation's name and the variables, with one reading.

Source: GraphQL over HTTP (draft, 2025); Apollo's automatic persisted queries.
"""

import hashlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from authz.actions.graphql.settings import GraphqlSettings
from authz.actions.limits import Limits
from authz.actions.shape import ambiguous, an_object, label, malformed, mismatch, unknown
from authz.actions.strict_json import read_json, refuse_lookalikes
from authz.errors import Reason, Refusal
from authz.model import Value

_IDS: Final = ("id", "documentId", "doc_id", "queryId")
FIELDS: Final = frozenset({"query", "operationName", "variables", "extensions", *_IDS})
_NONE: Mapping[str, Value] = {}


class GraphqlRequest(msgspec.Struct, frozen=True):
    """What is to be executed."""

    document: str
    operation: str
    """"": the only one."""
    variables: Mapping[str, Value]


def read_request(value: Value, settings: GraphqlSettings) -> GraphqlRequest:
    """Answer what a request says.

    Raises:
        Refusal: BODY_*: another member, two documents, a persisted one that is not configured.
    """
    asked = an_object(value, "the request")
    refuse_lookalikes(asked, FIELDS)
    if not asked.keys() <= FIELDS:
        unknown("a member that no GraphQL request has")
    if asked.get("operationName") == "":
        ambiguous("an empty `operationName`, which some servers take for none")
    variables = asked.get("variables")
    return GraphqlRequest(
        _document(asked, settings),
        label(asked, "operationName"),
        _NONE if variables is None else an_object(variables, "`variables`"),
    )


def _document(asked: Mapping[str, Value], settings: GraphqlSettings) -> str:
    query = asked.get("query")
    if query is not None and (type(query) is not str or not query):
        malformed("`query` is no text, or empty")
    ids = {given for name in _IDS if (given := label(asked, name))}
    digest = _persisted(asked)
    if query is None:
        ids |= {digest} - {""}
        if len(ids) != 1:
            malformed("neither `query` nor one id of a document")
        kept = settings.persisted.get(ids.pop())
        if kept is None:
            unknown("a persisted document that is not among `persisted`")
        return kept
    if ids:
        ambiguous("a document and the id of one")
    text: str = query
    if digest and digest != hashlib.sha256(text.encode()).hexdigest():
        mismatch("a document, and the SHA-256 of another")
    return text


def _persisted(asked: Mapping[str, Value]) -> str:
    extensions = asked.get("extensions")
    if extensions is None:
        return ""
    given = an_object(extensions, "`extensions`")
    refuse_lookalikes(given, frozenset({"persistedQuery"}))
    if given.get("persistedQuery") is None:
        return ""
    persisted = an_object(given["persistedQuery"], "`persistedQuery`")
    refuse_lookalikes(persisted, frozenset({"sha256Hash", "version"}))
    digest = label(persisted, "sha256Hash")
    if not digest:
        malformed("`persistedQuery` without `sha256Hash`")
    return digest


def read_query(query: str, limits: Limits) -> dict[str, Value]:
    """Answer the members of a request that came in the URL.

    Raises:
        Refusal: BODY_*: a parameter twice, or where some servers would see two, or not JSON where it must be.
    """
    if ";" in query:
        ambiguous("a `;` in the query, which some servers take for a `&`; `%3B` is one for all")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=16, errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise Refusal(Reason.BODY_MALFORMED, "a query that is no list of parameters") from None
    if len({name.casefold() for name, _ in pairs}) != len(pairs):
        ambiguous("a parameter of the query twice")
    return {
        name: read_json(text.encode(), limits.json) if name in {"variables", "extensions"} else text
        for name, text in pairs
    }


def refuse_query_beside_body(query: str) -> None:
    """Refuse a POST whose URL names members too: some servers let them go before the body's."""
    if not query:
        return
    names = {part.partition("=")[0] for part in query.replace(";", "&").split("&")}
    if any("%" in name or "+" in name or name.casefold() in {field.casefold() for field in FIELDS} for name in names):
        ambiguous("members of the request in the URL, beside a body")
