"""The arguments of a tool that a client mirrors in `Mcp-Param-<name>` headers, and that the body says the same.

Which argument a header mirrors is told by the tool's schema (`x-mcp-header`), which is not in a request: configuration
tells it here. Source: revision 2026-07-28, transports, "Custom Headers from Tool Parameters".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from authz.actions.mcp.mirrored import decoded
from authz.errors import Reason, Refusal
from authz.model import Value

PREFIX: Final = "mcp-param-"
_NUMBER: Final = re.compile(r"(-?(?:0|[1-9][0-9]{0,15}))(?:\.0{1,16})?")
"""A whole number, as it is compared: `42.0` is 42."""
_ABSENT: Final = object()


class MirroredParams:
    """Compares headers with arguments, for one server."""

    def __init__(self, tools: Mapping[str, Mapping[str, Sequence[str]]], *, others_among: bool) -> None:
        """`tools`: of each tool, the path of each property that it has mirrored, by the name in the header.

        `others_among`: whether headers of other tools pass that hold the value of any argument.
        """
        self._tools = {
            tool: {PREFIX + name.lower(): tuple(path) for name, path in params.items()}
            for tool, params in tools.items()
        }
        self._others_among = others_among

    def check(self, headers: Mapping[str, str], tool: str, arguments: Mapping[str, Value], *, demanded: bool) -> None:
        """Refuse headers that say something else than the arguments.

        `demanded`: whether a header must be there for each value that is.

        Raises:
            Refusal: BODY_MISMATCH.
        """
        # Not by `items`: who looks at all values looks at ids that differ in every call, and none is recalled.
        told = {name: headers[name] for name in headers if name.startswith(PREFIX)}
        known = self._tools.get(tool)
        if known is None:
            if told:
                self._check_unknown(told, arguments)
            return
        if not told.keys() <= known.keys():
            raise _mismatch("a header mirrors what `mirrored` does not say of the tool")
        for name, path in known.items():
            value, text = _at(arguments, path), told.get(name)
            if text is None:
                if demanded and value is not _ABSENT and value is not None:
                    raise _mismatch("a header that mirrors an argument is not there")
            elif not _says(decoded(text, PREFIX), value):
                raise _mismatch("a header does not say what the argument does that it mirrors")

    def _check_unknown(self, told: Mapping[str, str], arguments: Mapping[str, Value]) -> None:
        if not self._others_among:
            raise _mismatch("a header mirrors an argument; `mirrored` does not say which")
        values = list(_reachable(arguments))
        for text in told.values():
            said = decoded(text, PREFIX)
            if not any(_says(said, value) for value in values):
                raise _mismatch("a header mirrors what no argument says")


def refuse_params(headers: Mapping[str, str]) -> None:
    """Refuse mirrored arguments where there is no call of a tool.

    Raises:
        Refusal: BODY_MISMATCH.
    """
    if any(name.startswith(PREFIX) for name in headers):
        raise _mismatch("a header mirrors an argument, and no tool is called")


def _at(arguments: Mapping[str, Value], path: Sequence[str]) -> object:
    value: object = arguments
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _reachable(arguments: Mapping[str, Value]) -> Iterator[Value]:
    """All values that a header can mirror: below properties, never in arrays."""
    level: list[Mapping[str, Value]] = [arguments]
    while level:
        values = [value for each in level for value in each.values()]
        level = [value for value in values if isinstance(value, Mapping)]
        yield from values


def _says(text: str, value: object) -> bool:
    """Whether a text is what a value is written as: text, true, false, or a whole number, which is compared as one."""
    if isinstance(value, str):
        return text == value
    if isinstance(value, bool):
        return text == ("true" if value else "false")
    if not isinstance(value, int | float):
        return False
    found = _NUMBER.fullmatch(text)
    return found is not None and int(found[1]) == value


def _mismatch(problem: str) -> Refusal:
    return Refusal(Reason.BODY_MISMATCH, f"{PREFIX}*: {problem}")
