"""Who holds which role: the grants (`g` rows) of one role definition, as an immutable graph.

`reach` gives every role that a name holds, itself included, as one set; the sets of names that hold any are kept for
the life of the snapshot, those of names that nobody mentions are not kept, or only so many of them (a caller can invent
names without end).

Role matching functions follow the documentation of Casbin, independent of the order of rows and questions (pycasbin
changes its graph while it answers): a name holds what is granted to every pattern that it matches, and whoever is
granted a pattern as a role holds every role that the pattern matches. With a domain matching function, a grant holds in
every domain that its domain matches.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from authz.errors import ConfigError, PolicyError
from authz.policy import depth
from authz.policy.functions import Function, RuleError
from authz.policy.perm import RoleDefinition
from authz.policy.regex import PatternError
from authz.policy.rows import Row
from authz.policy.trie import Outline, Trie

NOBODY: frozenset[str] = frozenset()


class RoleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How names, domains and conditions of role grants are compared; Casbin programs set this in code."""

    role_matching: dict[str, str] = {}
    """For a role definition (g, g2, ...) the pattern function, such as keyMatch2, by which names match names."""
    domain_matching: dict[str, str] = {}
    """For a role definition the pattern function by which a domain matches the domain of a grant."""
    conditions: dict[str, str] = {}
    """For a conditional role definition, `g = _, _, (_, _)`, the function of the extra columns; default: timeMatch."""
    max_remembered_roles: int = 1_000_000
    """Most roles, summed over names, that are kept ready; what is beyond is computed for each request."""
    max_remembered_strangers: int = 4_096
    """Most names without a grant of their own for which the result of role matching is kept."""


class RoleBasis(msgspec.Struct, frozen=True):
    """What all role definitions of one policy have in common."""

    functions: Mapping[str, Function]
    settings: RoleSettings
    max_depth: int


class _Link(msgspec.Struct, frozen=True, gc=False):
    """One grant: the role, and its condition (None: always)."""

    role: str
    holds: Callable[[], object] | None = None


class Patterns:
    """Which of a set of names, taken as patterns, match a given name."""

    def __init__(self, names: Iterable[str], function: Function | None) -> None:
        found: dict[Outline, list[tuple[str, Callable[..., object]]]] = {}
        for name in names if function else ():
            try:
                predicate = function.bind(name)  # type: ignore[union-attr]  # the loop is empty without a function
            except PatternError:
                continue  # a name that is no pattern matches only itself
            outline = function.outline(name) if function.outline else Outline((("", False),), open=True)  # type: ignore[union-attr]  # likewise
            if outline.open or not all(whole for _, whole in outline.segments):
                found.setdefault(outline, []).append((name, predicate))
        self._trie = Trie(
            ((outline, tuple(entries)) for outline, entries in found.items()), lambda entries: len(entries) == 1
        )
        self.any = bool(found)

    def covering(self, name: str) -> list[str]:
        """The patterns that match `name`, itself left out."""
        return [
            pattern
            for entries in self._trie.find(name)
            for pattern, matches in entries
            if pattern != name and matches(name)
        ]


class Roles:
    """The grants of one role definition."""

    def __init__(self, definition: RoleDefinition, rows: Sequence[Row], basis: RoleBasis) -> None:
        """Build the graph.

        Raises:
            PolicyError: Grants nest deeper than `max_depth`, or a condition does not fit its grant.
            ConfigError: A setting names no usable function.
        """
        settings, functions = basis.settings, basis.functions
        self._settings = settings
        self._max_depth = basis.max_depth
        self.definition = definition
        self.matching = _function(settings.role_matching, definition.name, functions)
        self.domain_matching = _function(settings.domain_matching, definition.name, functions)
        self.conditional = definition.parameters > 0
        condition = settings.conditions.get(definition.name, "timeMatch")
        self._links: dict[str, dict[str, list[_Link]]] = {}
        for row in rows:
            self._grant(row, condition, functions)
        self.timed = self.conditional and bool(rows) and functions[condition].timed
        """Whether the answers depend on the time."""
        self.sure = not self.conditional or not rows or functions[condition].total
        """Whether the question about two texts never fails."""
        self._names = {name for domain in self._links.values() for name in domain}
        roles = {link.role for domain in self._links.values() for links in domain.values() for link in links}
        self._users = Patterns(self._names, self.matching)
        self._roles = Patterns(roles, self.matching)
        self._domains = Patterns(self._links, self.domain_matching)
        self._names |= roles
        self._covered = self._covered_names()
        self._kept: dict[object, frozenset[str]] = {}
        self._kept_roles = 0
        self._strangers: dict[object, frozenset[str]] = {}
        self._check_depth(rows)

    def _grant(self, row: Row, condition: str, functions: Mapping[str, Function]) -> None:
        name, role, *rest = row.cells
        domain = rest.pop(0) if self.definition.domains else ""
        holds = _condition(row, condition, rest, functions) if self.conditional else None
        self._links.setdefault(domain, {}).setdefault(name, []).append(_Link(role, holds))

    def know(self, names: Iterable[str]) -> None:
        """Take in the roles that rules ask about, so that `reach` names those that a granted pattern matches."""
        self._names.update(names)
        self._covered = self._covered_names()
        self._kept.clear()
        self._kept_roles = 0
        self._strangers.clear()

    def _covered_names(self) -> Mapping[str, tuple[str, ...]]:
        """For every pattern that is granted as a role, the names that it matches."""
        covered: dict[str, list[str]] = {}
        if self._roles.any:
            for name in self._names:
                for pattern in self._roles.covering(name):
                    covered.setdefault(pattern, []).append(name)
        return MappingProxyType({pattern: tuple(found) for pattern, found in covered.items()})

    def _check_depth(self, rows: Sequence[Row]) -> None:
        """No way to a role may be longer than the limit, so that `reach` can never be cut short."""
        graph: dict[str, set[str]] = {}
        for of_domain in self._links.values():
            for name, links in of_domain.items():
                graph.setdefault(name, set()).update(link.role for link in links)
        known = set(graph) | {role for roles in graph.values() for role in roles}
        for name in known if self._users.any else ():
            graph.setdefault(name, set()).update(*(graph[pattern] for pattern in self._users.covering(name)))
        for pattern, names in self._covered.items():
            graph.setdefault(pattern, set()).update(names)
        graph = {name: roles - {name} for name, roles in graph.items()}
        if depth.bound(graph) <= self._max_depth:
            return
        problem = f"role grants of {self.definition.name} nest more than {self._max_depth} deep"
        if self.matching or self.domain_matching or self.conditional:
            raise PolicyError(rows[0].file, 0, f"{problem}, or could with patterns and conditions")
        for of_domain in self._links.values():
            plain = {name: [link.role for link in links] for name, links in of_domain.items()}
            try:
                start = depth.too_deep(plain, self._max_depth)
            except ValueError as error:
                raise PolicyError(rows[0].file, 0, str(error)) from None
            if start:
                raise next(row for row in rows if row.cells[0] == start).refuse(f"{problem}, from {start!r}")

    def reach(self, name: object, domain: object = "") -> frozenset[str]:
        """Every role that `name` holds in `domain`, `name` itself included.

        Raises:
            RuleError: One of them is no text.
        """
        try:
            return self._kept[name, domain]
        except (KeyError, TypeError):
            return self._reach(name, domain)

    def holds(self, name: object, role: object, domain: object = "") -> bool:
        """Whether `name` holds `role` in `domain`; for a role that no rule names, such as one from the request.

        Raises:
            RuleError: One of them is no text.
        """
        reached = self.reach(name, domain)
        if not isinstance(role, str):
            raise RuleError(f"{self.definition.name} was asked about what is no text")
        return role in reached or any(pattern in reached for pattern in self._roles.covering(role))

    def _reach(self, name: object, domain: object) -> frozenset[str]:
        if not isinstance(name, str) or not isinstance(domain, str):
            raise RuleError(f"{self.definition.name} was asked about what is no text")
        key = (name, domain)
        if key in self._strangers:
            return self._strangers[key]
        scopes = self._in_force(domain)
        found = self._search(name, scopes)
        if self.conditional:
            return found
        if any(name in scope for scope in scopes) and (domain in self._links or not self.definition.domains):
            if self._kept_roles + len(found) <= self._settings.max_remembered_roles:
                self._kept_roles += len(found)
                self._kept[key] = found
        elif self.matching or self.domain_matching:
            if len(self._strangers) >= self._settings.max_remembered_strangers:
                self._strangers.clear()
            self._strangers[key] = found
        return found

    def _search(self, name: str, scopes: Sequence[Mapping[str, Sequence[_Link]]]) -> frozenset[str]:
        found = {name}
        level = set(self._next(name, scopes)) - found
        while level:
            found |= level
            following = {role for held in level for role in self._next(held, scopes)}
            following.update(covered for held in level for covered in self._covered.get(held, ()))
            level = following - found
        return frozenset(found)

    def _next(self, name: str, scopes: Sequence[Mapping[str, Sequence[_Link]]]) -> Iterable[str]:
        """The roles granted to `name`, or to a pattern that it matches."""
        granted = [name, *self._users.covering(name)] if self._users.any else [name]
        for scope in scopes:
            for holder in granted:
                for link in scope.get(holder, ()):
                    if link.holds is None or link.holds():
                        yield link.role

    def _in_force(self, domain: str) -> Sequence[Mapping[str, Sequence[_Link]]]:
        """The grants of a domain, and of every domain pattern that it matches."""
        exact = (self._links[domain],) if domain in self._links else ()
        if not self._domains.any:
            return exact
        return (*exact, *(self._links[pattern] for pattern in self._domains.covering(domain)))


def _function(chosen: Mapping[str, str], definition: str, functions: Mapping[str, Function]) -> Function | None:
    if definition not in chosen:
        return None
    function = functions.get(chosen[definition])
    if function is None or function.subjects != 1 or not function.signature.boolean:
        raise ConfigError(
            f"{chosen[definition]!r} cannot match names of {definition}: no pattern function has that name"
        )
    return function


def _condition(row: Row, name: str, columns: Sequence[str], functions: Mapping[str, Function]) -> Callable[[], object]:
    """The condition of a grant, its columns bound."""
    function = functions.get(name)
    if function is None:
        raise row.refuse(f"the condition {name} of this grant is not available here")
    if not function.signature.fewest <= len(columns) <= function.signature.most:
        raise row.refuse(f"the condition {name} does not take {len(columns)} columns")
    subjects, constants = columns[: function.subjects], columns[function.subjects :]
    try:
        bound = function.bind(*constants)
    except ValueError as error:
        raise row.refuse(str(error)) from None
    return lambda: bound(*subjects)
