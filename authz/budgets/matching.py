"""Which calls a budget counts, and for whom: made ready once for many questions."""

from collections.abc import Mapping, Sequence

from authz.budgets.settings import BudgetSettings
from authz.budgets.window import Span
from authz.model import ACTION_RESOURCE, Asked, Subject, Value
from authz.resource_pattern import host_patterns, parse_path, path_segments

MAX_NAME = 512
"""A longer resource, or name of a counter, is stood for by a digest (I12)."""


class _Names:
    """Whole names, and beginnings with "*" after them; none: all."""

    def __init__(self, names: Sequence[str]) -> None:
        self._any = not names
        self._whole = frozenset(name for name in names if not name.endswith("*"))
        self._beginnings = tuple(name[:-1] for name in names if name.endswith("*"))

    def fit(self, name: str) -> bool:
        return self._any or name in self._whole or name.startswith(self._beginnings)


class Budget:
    """One budget of the configuration."""

    def __init__(self, settings: BudgetSettings) -> None:
        self.name = settings.name
        self.counts = settings.count
        self.limit = settings.units
        self.per = settings.per
        self.span = Span(settings.window_seconds, settings.slots)
        self.exact = settings.exact
        self.group = settings.approval
        """The group of approvers who may let a call exceed it; "": nobody."""
        self.plain = settings.count == "calls" and not settings.exact
        """Whether it counts calls and nothing else: the quickest."""
        self.shared = False
        """Whether there is a shared store that waits for news."""
        self.prefix = f"{settings.name}@{settings.window_seconds:g}/{settings.slots}"
        """How the names of its counters begin: with another window it begins anew."""
        self.argument = tuple(settings.argument.split(".")) if settings.argument else ()
        match = settings.match
        self._principals = _Names(match.principals)
        self._actions = _Names(match.actions)
        self._tools = _Names(match.tools)
        self._hosts = frozenset(match.hosts)
        self._paths = tuple(parse_path(path) for path in match.paths)
        self._sensitivities = frozenset(match.sensitivities)

    def fits(self, subject: Subject, asked: Asked) -> bool:
        """Whether it counts this call."""
        return (
            self._principals.fit(subject.id)
            and self._actions.fit(asked.name)
            and self._tools.fit(asked.tool)
            and (not self._hosts or not self._hosts.isdisjoint(host_patterns(str(asked.obj.get("host", "")))))
            and (not self._paths or self._fits_path(str(asked.obj.get("path", ""))))
            and (not self._sensitivities or asked.obj.get("sensitivity") in self._sensitivities)
        )

    def _fits_path(self, path: str) -> bool:
        segments = path_segments(path)
        return any(pattern.matches(segments) for pattern in self._paths)


def tool_of(asked: Asked) -> str:
    """What is used: the tool, or the action where it has none."""
    return asked.tool or asked.name


def resource_of(asked: Asked) -> str:
    """What tells one resource from another: its type and id where catalogue or body name them, else its place."""
    obj = asked.obj
    kind, name = obj.get("type"), obj.get("id")
    place = f"{kind}:{name}" if kind and name else f"{obj.get('host', '')}{obj.get('path', '')}"
    told = [f"{each}={obj[each]}" for each in ACTION_RESOURCE if obj.get(each)]
    return " ".join([place, *told]) if told else place


def argument_of(asked: Asked, path: Sequence[str]) -> Value:
    """An argument of the action; None: there is none."""
    found: Value = asked.args
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def tenant_reader(setting: str) -> Sequence[str]:
    """Take the setting `tasks.tenant` apart."""
    return setting.split(".")[1:]


def tenant_of(subject: Subject, path: Sequence[str]) -> str:
    """The tenant of a caller; "": it has none."""
    name, *below = path
    if name == "trust_domain":
        return subject.trust_domain
    if name == "namespace":
        return subject.namespace
    found: Value = subject.attributes.get(name)
    for each in below:
        found = found.get(each) if isinstance(found, Mapping) else None
    return "" if found is None else str(found)
