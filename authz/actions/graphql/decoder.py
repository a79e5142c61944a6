"""GraphQL over HTTP: each top-level field of the operation is an action, with its arguments.

graphql:mutation:createUser, graphql:query:user, graphql:query:__schema

The name and aliases that the client chose say nothing and are not shown. What fields select below is not read: it is
the upstream's schema that says what that means.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from authz.actions.decoder import Message
from authz.actions.graphql.document import read_document
from authz.actions.graphql.request import read_query, read_request, refuse_query_beside_body
from authz.actions.graphql.settings import GraphqlSettings
from authz.actions.limits import Limits
from authz.actions.shape import malformed, unknown
from authz.actions.strict_json import read_json
from authz.errors import Reason, Refusal
from authz.model import Action, Value

KIND: Final = "graphql"


class GraphqlDecoder:
    """Reads the requests of one GraphQL endpoint."""

    content_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def __init__(self, settings: GraphqlSettings) -> None:
        self._settings = settings

    def wants_body(self, message: Message) -> bool:
        """Answer whether it is a POST; a GET has its request in the URL.

        Raises:
            Refusal: BODY_UNKNOWN: another method.
        """
        if message.method not in {"GET", "POST"}:
            unknown("GraphQL has GET and POST only")
        return message.method == "POST"

    def decode(self, message: Message, body: bytes, limits: Limits) -> Sequence[Action]:
        """Answer every top-level field.

        Raises:
            Refusal: BODY_*: no GraphQL request, or one that can be read in two ways.
        """
        if message.method == "GET":
            return self._in_url(message, limits)
        refuse_query_beside_body(message.query)
        value = read_json(body, limits.json)
        if type(value) is not list:
            return self._actions(value, limits)
        if not self._settings.batches:
            unknown("a batch, and `batches` is off")
        if not 0 < len(value) <= limits.max_batch:
            raise Refusal(Reason.BODY_TOO_LARGE, "more requests than `actions.limits.max_batch`, or none")
        return tuple(action for each in value for action in self._actions(each, limits))

    def _in_url(self, message: Message, limits: Limits) -> Sequence[Action]:
        if message.size > 0:
            malformed("a body beside a request in the URL")
        actions = self._actions(read_query(message.query, limits), limits)
        if not all(action.name.startswith(f"{KIND}:query:") for action in actions):
            unknown("only queries may come by GET")
        return actions

    def _actions(self, value: Value, limits: Limits) -> Sequence[Action]:
        request = read_request(value, self._settings)
        asked = read_document(
            request.document,
            request.operation,
            request.variables,
            max_tokens=self._settings.max_tokens,
            max_fields=limits.max_batch,
            max_args_bytes=limits.max_args_bytes,
        )
        return tuple(
            Action(f"{KIND}:{asked.type}:{field.name}", field.arguments, KIND, field.name) for field in asked.fields
        )
