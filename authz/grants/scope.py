"""What a grant permits: `authorization_details` of a type of our own, held against a request and against a wider scope.

Source: RFC 9396. A request must fit one entry whole: its action, host, path and every condition. Hosts and paths are
written as in the catalogue, not as in a Casbin rule: patterns of whole labels and segments, for which "lies within" is
exact, while a keyMatch that two engines read in two ways is no ground for a credential.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import msgspec

from authz.grants.condition import Condition
from authz.model import Asked, Value
from authz.resource_pattern import PathPattern, check_host, parse_path, path_segments

DETAIL_TYPE: Final = "authz_access"
"""The `type` of every entry (RFC 9396 section 2); an entry of another type is refused."""
MAX_DETAILS: Final = 16
"""Entries of one scope; a request is held against each in turn."""
MAX_PATTERNS: Final = 64
"""Actions, locations, and resources, each, of one entry."""
MAX_CONDITIONS: Final = 16
"""Conditions of one entry."""

# An exact name, or all that begin alike up to a separator: "GET", "mcp:tools/*", "*".
_ACTION = re.compile(r"\*|[!-)+-~]{1,256}|(?:[!-)+-~]{0,255}[:/.])\*")

# Grants of one kind of task name the same paths again and again.
_parse_path = lru_cache(4_096)(parse_path)

Covers: TypeAlias = Callable[[Asked], bool]


class Detail(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry: whoever holds it may do these actions on these resources, while the conditions hold.

    Raises:
        ValueError: an entry that means nothing, too much to check, or something that is not known here.
    """

    type: Literal["authz_access"]
    actions: tuple[str, ...]
    """Names as in `r.act.name`: exact, or all that begin so, as `mcp:tools/*`; `*` for all."""
    locations: tuple[str, ...]
    """Hosts: `accounts.demo.internal`, `*.demo.internal`, `*`."""
    resources: tuple[str, ...]
    """Paths: `/v1/accounts/{id}`, `/v1/accounts/*` for that and all below it, `tcp:5432`."""
    conditions: tuple[Condition, ...] = ()
    """All must hold; each attribute at most once."""

    def __post_init__(self) -> None:
        for name in ("actions", "locations", "resources"):
            count = len(getattr(self, name))
            if not 1 <= count <= MAX_PATTERNS:
                raise ValueError(f"'{name}' needs 1 to {MAX_PATTERNS} entries, not {count}")
        for action in self.actions:
            if _ACTION.fullmatch(action) is None:
                raise ValueError(
                    f"the action {action!r} is neither a name, nor a beginning up to ':', '/' or '.' with '*' after it"
                )
        for host in self.locations:
            check_host(host)
        for path in self.resources:
            _parse_path(path)
        attributes = {condition.attribute for condition in self.conditions}
        if len(self.conditions) > MAX_CONDITIONS or len(attributes) != len(self.conditions):
            raise ValueError(f"at most {MAX_CONDITIONS} conditions, and one for each attribute")


class Scope(msgspec.Struct, frozen=True):
    """What a grant permits: what any of its entries does.

    Raises:
        ValueError: no entry, or more than `MAX_DETAILS`.
    """

    details: tuple[Detail, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.details) <= MAX_DETAILS:
            raise ValueError(f"a scope has 1 to {MAX_DETAILS} entries, not {len(self.details)}")

    def to_claim(self) -> list[dict[str, Value]]:
        """Write it as the value of `authorization_details`."""
        written: list[dict[str, Value]] = msgspec.to_builtins(self.details)
        return list(written)


def access(
    actions: Sequence[str],
    locations: Sequence[str],
    resources: Sequence[str],
    conditions: Sequence[Condition] = (),
) -> Detail:
    """One entry of a scope.

    Raises:
        ValueError: as `Detail`.
    """
    return Detail(DETAIL_TYPE, tuple(actions), tuple(locations), tuple(resources), tuple(conditions))


def parse_scope(claim: object) -> Scope:
    """The scope in the value of `authorization_details`; nothing in it is passed over.

    Raises:
        ValueError: not an array of entries of our type with known members; the message says where.
    """
    try:
        return Scope(msgspec.convert(claim, tuple[Detail, ...]))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


class _Entry:
    """A detail made ready for many questions: what is spelled out whole is looked up, the rest is compared."""

    def __init__(self, detail: Detail) -> None:
        paths = tuple(_parse_path(path) for path in detail.resources)
        texts = [(path, text) for path, text in zip(paths, detail.resources, strict=True) if _is_plain(path)]
        self.names = frozenset(action for action in detail.actions if not action.endswith("*"))
        self.beginnings = tuple(action[:-1] for action in detail.actions if action.endswith("*"))
        self.hosts = frozenset(host for host in detail.locations if "*" not in host)
        self.host_ends = tuple(host[1:] for host in detail.locations if "*" in host)
        self.paths = paths
        self.whole_paths = frozenset(text.removesuffix("/") for path, text in texts if not path.open_ended)
        self.path_beginnings = tuple(text.removesuffix("*") for path, text in texts if path.open_ended)
        self.other_paths = tuple(path for path in paths if not _is_plain(path))
        self.constraints = {condition.attribute: condition.constraint for condition in detail.conditions}
        self.demands = tuple((name.split("."), constraint) for name, constraint in self.constraints.items())

    def covers(self, action: str, host: str, path: str, asked: Asked) -> bool:
        """Whether the whole request fits; `path` has no slash at its end."""
        return (
            (action in self.names or action.startswith(self.beginnings))
            and (host in self.hosts or host.endswith(self.host_ends))
            and (path in self.whole_paths or f"{path}/".startswith(self.path_beginnings) or self._fits_other(path))
            and (not self.demands or self._meets(asked))
        )

    def within(self, outer: "_Entry") -> bool:
        """Whether all that fits here, fits `outer`; False where that does not show in each part by itself."""
        return (
            all(name in outer.names or name.startswith(outer.beginnings) for name in self.names)
            and all(beginning.startswith(outer.beginnings) for beginning in self.beginnings)
            and all(host in outer.hosts or host.endswith(outer.host_ends) for host in self.hosts)
            and all(end.endswith(outer.host_ends) for end in self.host_ends)
            and all(any(path.within(wide) for wide in outer.paths) for path in self.paths)
            and all(
                name in self.constraints and self.constraints[name].within(constraint)
                for name, constraint in outer.constraints.items()
            )
        )

    def _fits_other(self, path: str) -> bool:
        if not self.other_paths:
            return False
        segments = path_segments(path)
        return any(pattern.matches(segments) for pattern in self.other_paths)

    def _meets(self, asked: Asked) -> bool:
        return all(constraint.admits(_attribute(asked, name)) for name, constraint in self.demands)


def compile_scope(scope: Scope) -> Covers:
    """The test whether a request lies within a scope, made once for a grant. Cost: about 2 us for one entry."""
    entries = [_Entry(detail) for detail in scope.details]

    def covers(asked: Asked) -> bool:
        # The attributes that policies see, so that scope and policy never read a request in two ways (I6).
        action, host, path = asked.name, asked.obj["host"], asked.obj["path"]
        if not (isinstance(host, str) and isinstance(path, str)):
            return False
        path = path.removesuffix("/")
        for entry in entries:  # noqa: SIM110 - `any` over a generator costs more than the test itself
            if entry.covers(action, host, path, asked):
                return True
        return False

    return covers


def narrower(child: Scope, parent: Scope) -> bool:
    """Whether `child` permits nothing that `parent` does not (I7).

    Says yes only where each entry of `child` lies within one entry of `parent`; a child that only several entries
    together contain is not recognised.
    """
    outer = [_Entry(detail) for detail in parent.details]
    return all(any(_Entry(detail).within(wide) for wide in outer) for detail in child.details)


def _is_plain(path: PathPattern) -> bool:
    return None not in path.segments


def _attribute(asked: Asked, path: Sequence[str]) -> Value:
    match path:
        case ["act", "method"]:
            return asked.target.method
        case ["act", "protocol"]:
            return asked.protocol
        case ["act", "kind"]:
            return asked.kind
        case ["act", "tool"]:
            return asked.tool
        case ["act", *below]:
            found: Value = {"args": asked.args}
        case [_, *below]:
            found = asked.obj
    for name in below:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
