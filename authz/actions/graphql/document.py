"""From a GraphQL document to the top-level fields that one of its operations asks for.

Fragments are expanded where they are spread at the top level, aliases resolved to the fields, `@skip` and `@include`
are taken for "may be included". Source: GraphQL specification, October 2021 and September 2025 (6.3.2 CollectFields).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from graphql import GraphQLSyntaxError, parse
from graphql.language import ast

from authz.actions.shape import ambiguous, malformed, unknown
from authz.actions.strict_json import exact_double, exact_integer
from authz.errors import Reason, Refusal
from authz.model import Attributes, Value

_ABSENT: Final = object()


class Field(NamedTuple):
    """A top-level field, and what it is asked with."""

    name: str
    arguments: Attributes


class Asked(NamedTuple):
    """An operation: "query", "mutation" or "subscription", and its top-level fields."""

    type: str
    fields: tuple[Field, ...]


class _Variables:
    """The value of each variable that has one, for the arguments of one field.

    A document may name a variable as often as it has tokens, so that what a few bytes ask for may be a thousand times
    as large as all that was sent: what is put in is counted, before anybody walks through it (I12).
    """

    def __init__(self, values: Mapping[str, Any], max_bytes: int) -> None:
        self._values = values
        self._left = max_bytes
        self._sizes: dict[str, int] = {}

    def take(self, name: str) -> Any:
        """Answer the value; `_ABSENT`: it has none."""
        if name not in self._values:
            malformed("a variable that the operation does not define")
        value = self._values[name]
        if name not in self._sizes:
            self._sizes[name] = 0 if value is _ABSENT else len(msgspec.json.encode(value))
        self._left -= self._sizes[name]
        if self._left < 0:
            raise Refusal(Reason.BODY_TOO_LARGE, "variables put in make arguments longer than `max_args_bytes`")
        return value


_NO_VARIABLES: Final = _Variables({}, 0)


def read_document(  # noqa: PLR0913 - each bound by name
    text: str,
    operation: str,
    variables: Mapping[str, Value],
    *,
    max_tokens: int,
    max_fields: int,
    max_args_bytes: int,
) -> Asked:
    """Answer what executing the operation would ask for.

    Raises:
        Refusal: BODY_*: not GraphQL, too much of it, no such operation, or one that servers could read differently.
    """
    if "\ufeff" in text:
        ambiguous("a byte order mark in a document")
    operations, fragments = _definitions(_parse(text, max_tokens))
    chosen = _chosen(operations, operation)
    given = _variables(chosen, variables)
    fields: list[Field] = []
    for node in _top_level(chosen.selection_set, fragments, set()):
        if len(fields) >= max_fields:
            raise Refusal(Reason.BODY_TOO_LARGE, "more top-level fields than `actions.limits.max_batch`")
        fields.append(Field(node.name.value, _arguments(node.arguments or (), _Variables(given, max_args_bytes))))
    if not fields:
        malformed("an operation that selects nothing")
    return Asked(chosen.operation.value, tuple(fields))


def _parse(text: str, max_tokens: int) -> ast.DocumentNode:
    try:
        return parse(text, no_location=True, max_tokens=max_tokens, allow_empty_selection_sets=False)
    except GraphQLSyntaxError as error:
        # The message quotes the document.
        if "Document contains more" in error.message or "too deeply" in error.message:
            raise Refusal(Reason.BODY_TOO_LARGE, "a document of more tokens than `max_tokens`, or too deep") from None
        raise Refusal(Reason.BODY_MALFORMED, "a document that is not GraphQL") from None
    except RecursionError:
        raise Refusal(Reason.BODY_TOO_LARGE, "a document that nests too deep") from None


def _definitions(
    document: ast.DocumentNode,
) -> tuple[list[ast.OperationDefinitionNode], dict[str, ast.FragmentDefinitionNode]]:
    operations: list[ast.OperationDefinitionNode] = []
    fragments: dict[str, ast.FragmentDefinitionNode] = {}
    for node in document.definitions:
        if isinstance(node, ast.OperationDefinitionNode):
            operations.append(node)
        elif isinstance(node, ast.FragmentDefinitionNode):
            if node.name.value in fragments:
                ambiguous("two fragments of one name")
            fragments[node.name.value] = node
        else:
            malformed("a definition of types in a document that is to be executed")
    names = [node.name.value if node.name else "" for node in operations]
    if len(set(names)) != len(names) or ("" in names and len(names) > 1):
        ambiguous("two operations of one name, or one without a name beside others")
    return operations, fragments


def _chosen(operations: list[ast.OperationDefinitionNode], name: str) -> ast.OperationDefinitionNode:
    if not name:
        if len(operations) != 1:
            malformed("no operation, or several and no `operationName`")
        return operations[0]
    for node in operations:
        if node.name and node.name.value == name:
            return node
    raise Refusal(Reason.BODY_MALFORMED, "no operation of the name that `operationName` gives")


def _top_level(
    selections: ast.SelectionSetNode, fragments: Mapping[str, ast.FragmentDefinitionNode], seen: set[str]
) -> Iterator[ast.FieldNode]:
    waiting = list(reversed(selections.selections))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FieldNode):
            yield node
        elif isinstance(node, ast.InlineFragmentNode):
            waiting.extend(reversed(node.selection_set.selections))
        elif isinstance(node, ast.FragmentSpreadNode):
            name = node.name.value
            if name in seen:
                continue  # what it selects is among the fields already
            seen.add(name)
            fragment = fragments.get(name)
            if fragment is None:
                malformed("a fragment that is not defined")
            waiting.extend(reversed(fragment.selection_set.selections))
        else:  # pragma: no cover - the grammar has no other
            unknown("a selection of a kind that is not known")


def _variables(operation: ast.OperationDefinitionNode, variables: Mapping[str, Value]) -> dict[str, Any]:
    """Answer the value of each variable that has one: that given, else its default."""
    values: dict[str, Any] = {}
    for node in operation.variable_definitions or ():
        name = node.variable.name.value
        if name in values:
            ambiguous("a variable that is defined twice")
        if name in variables:
            values[name] = variables[name]
        else:
            values[name] = _ABSENT if node.default_value is None else _value(node.default_value, _NO_VARIABLES)
    return values


def _arguments(nodes: Iterable[ast.ArgumentNode | ast.ObjectFieldNode], variables: _Variables) -> Attributes:
    arguments: Attributes = {}
    for node in nodes:
        name = node.name.value
        if name in arguments:
            ambiguous("an argument twice")
        # A variable without a value leaves the argument out.
        if (value := _value(node.value, variables)) is not _ABSENT:
            arguments[name] = value
    return arguments


def _value(node: ast.ValueNode, variables: _Variables) -> Any:
    """Answer the value of a literal or variable; the parser bounds how deep it can be."""
    if isinstance(node, ast.VariableNode):
        return variables.take(node.name.value)
    if isinstance(node, ast.IntValueNode):
        return exact_integer(node.value)
    if isinstance(node, ast.FloatValueNode):
        return exact_double(node.value)
    if isinstance(node, ast.StringValueNode | ast.EnumValueNode | ast.BooleanValueNode):
        if node.value is not True and node.value is not False and "\0" in node.value:
            ambiguous("a text that holds U+0000, where some servers end it")
        return node.value
    if isinstance(node, ast.NullValueNode):
        return None
    if isinstance(node, ast.ListValueNode):
        # In a list a variable without a value is null.
        return [None if (item := _value(each, variables)) is _ABSENT else item for each in node.values]
    if isinstance(node, ast.ObjectValueNode):
        return _arguments(node.fields, variables)
    raise Refusal(Reason.BODY_UNKNOWN, "a value of a kind that is not known")
