"""Requests made up from what policies, inventory and catalogue mention: where two policies can differ at all."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from authz.authoring.constants import Values, constants, instance, rule_constants
from authz.authoring.dry_run import DryRun, Overrides, check_overrides
from authz.authoring.question import Question, build_request
from authz.authoring.sides import Side
from authz.stores.document_files import read_document

_FILLINGS = ("x", "42", "x/y", "")
_METHODS = ("GET", "POST", "DELETE")
_MONDAY = 1_767_571_200.0  # 2026-01-05T00:00Z
_HOUR, _WEEK_HOURS = 3600, 168
_CONNECTION = "tcp:"
_ASKED = frozenset({"sub.id", "obj.path", "obj.host", "act.method", "env.hour", "env.weekday", "env.time"})
"""Attributes that a sample sets by its request, not by overriding them."""


class Sample(msgspec.Struct, frozen=True):
    """One request that nobody has made, perhaps."""

    question: Question
    at: float
    overrides: Overrides

    @property
    def message(self) -> bytes:
        """The CheckRequest."""
        message: bytes = build_request(self.question, None).SerializeToString()
        return message

    @property
    def told(self) -> str:
        """How to repeat it, as a test case."""
        asked = {name: value for name, value in msgspec.to_builtins(self.question).items() if value != _PLAIN[name]}
        parts: dict[str, object] = {"request": asked, "at": self.at}
        if self.overrides:
            parts["attributes"] = self.overrides
        return msgspec.json.encode(parts).decode()


_PLAIN = msgspec.to_builtins(Question())


class Space:
    """What there is to choose from."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self.values: dict[str, tuple[Any, ...]] = {}
        self.rules: list[Values] = []
        """The constants of each rule; of rules that only one side has, several times."""
        texts = [{rule.row.cells for rule in side.run.engine.rules} for side in sides]
        shared = set.intersection(*texts)
        for side in sides:
            self._add(constants(side.run.engine, side.run.mapping))
            self._add_files(side)
            for rule in side.run.engine.rules:
                of_rule = rule_constants(side.run.engine, rule, side.run.mapping)
                self.rules += [of_rule] * (1 if rule.row.cells in shared else _times(side.run))
        trust_domain = sides[0].config.identity.trust_domain
        self._add({"sub.id": ("", f"spiffe://{trust_domain}/ns/nowhere/sa/stranger"), "act.method": _METHODS})
        self._add({"obj.path": ("/",), "obj.host": ("localhost",)})

    def _add(self, values: Mapping[str, Sequence[Any]]) -> None:
        for name, found in values.items():
            known = self.values.get(name, ())
            self.values[name] = (*known, *(value for value in found if value not in known))

    def _add_files(self, side: Side) -> None:
        inventory, catalogue = side.config.identity.inventory, side.config.catalogue
        if inventory.file:
            workloads = read_document(side.base / inventory.file, inventory.max_file_bytes).get("workloads")
            self._add({"sub.id": tuple(workloads) if isinstance(workloads, Mapping) else ()})
        if catalogue.file:
            resources = read_document(side.base / catalogue.file, catalogue.max_file_bytes).get("resources")
            for entry in resources if isinstance(resources, list) else ():
                self._add({f"obj.{name}": (entry[name],) for name in ("host", "path") if name in entry})
                self._add({"act.method": tuple(entry.get("methods", ()))})


def _times(run: DryRun) -> int:
    """Answer how often a rule that only one side has is to count, so that it is not lost among many others."""
    return 1 + run.engine.rule_count // 4


def samples(space: Space, count: int, seed: int) -> Iterator[Sample]:
    """Make up `count` requests: half of them as a rule wants them, the others of values from everywhere."""
    source = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    for number in range(count):
        wanted = source.choice(space.rules) if space.rules and number % 2 else {}
        yield _sample(space, wanted, source)


def _sample(space: Space, wanted: Values, source: random.Random) -> Sample:
    def chosen(name: str) -> Any:
        # Now and then something else than the rule wants: its edges are where decisions differ.
        own = wanted.get(name)
        return source.choice(own if own and source.random() < 0.9 else space.values.get(name, ("",)))  # noqa: PLR2004

    path = instance(str(chosen("obj.path")), source.choice(_FILLINGS))
    who = str(chosen("sub.id"))
    asked: dict[str, Any] = {
        "principal": who.replace("*", "x") if who.startswith("spiffe://") else "",
    }
    if path.startswith(_CONNECTION):
        port = path.removeprefix(_CONNECTION)
        asked |= {"tcp": True, "destination": f"10.0.0.1:{port if port.isdigit() else 1}"}
    else:
        method = instance(str(chosen("act.method")), "GET")
        host = instance(str(chosen("obj.host")), "host")
        asked |= {"method": method or "GET", "path": path or "/", "host": host or "localhost"}
    overrides: dict[Any, dict[str, Any]] = {}
    for name in space.values:
        root, _, rest = name.partition(".")
        keep = 0.7 if name in wanted else 0.1
        if name not in _ASKED and rest and source.random() < keep:
            over = _nested(rest.split("."), chosen(name))
            if not check_overrides(_rooted(root, over)):
                overrides[root] = _joined(overrides.get(root, {}), over)
    return Sample(Question(**asked), _MONDAY + source.randrange(_WEEK_HOURS) * _HOUR, overrides)


def _rooted(root: Any, over: dict[str, Any]) -> Overrides:
    return {root: over} if root in {"sub", "obj", "act", "env"} else {}


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for step in reversed(path):
        value = {step: value}
    return dict(value)


def _joined(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _joined(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
