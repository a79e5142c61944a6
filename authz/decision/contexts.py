"""Chooses the sections of the model (r2, p2, e2, m2) that decide a request: Casbin's request context.

The choice is made of an attribute that the proxy or the request's own form gives, by a table that configuration names.
A request that the table does not name is denied (I1).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import msgspec

from authz.errors import ConfigError
from authz.model import AccessRequest, Effect
from authz.policy.compile import CompiledEngine
from authz.policy.engine import Verdict
from authz.policy.source import Sections

_ROOTS = ("sub", "obj", "act", "env")

Number = Annotated[int, msgspec.Meta(ge=1, le=99)]


class ContextSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sections of the model decide which requests."""

    attribute: Annotated[str, msgspec.Meta(min_length=1)] = "env.context.policy"
    """The attribute that chooses: `env.context.NAME` is an entry of Envoy's `context_extensions` (set for each route),
    `obj.host` the host, `act.protocol` the protocol. What a caller writes freely, such as a header, is a bad choice."""
    sections: Annotated[dict[str, Number], msgspec.Meta(min_length=1)]
    """From the attribute's value to the number of the sections: 2 means `r2`, `p2`, `e2` and `m2`, 1 those without a
    number. The value "" stands for a request without the attribute. A value that is not named here denies."""

    def problems(self) -> "list[tuple[str, str]]":
        """List (key, message) for what the types cannot say."""
        root, *rest = self.attribute.split(".")
        if root not in _ROOTS or not rest or not all(rest):
            return [("attribute", f"must be a path such as obj.host that starts with one of {', '.join(_ROOTS)}")]
        return []


Reader = Callable[[AccessRequest], tuple[object, ...]]


class ContextEngine:
    """Asks the engine of a request's context. Implements `authz.policy.engine.Engine`.

    The one value that it is asked with holds the context and the values for that context's engine; see `reader`.
    """

    tokens = ("context",)

    def __init__(
        self, settings: ContextSettings, engines: Mapping[int, CompiledEngine], readers: Mapping[int, Reader]
    ) -> None:
        """`engines` and `readers` by the number of their sections, as many as `settings` names."""
        self._root, *self._path = settings.attribute.split(".")
        self._attribute = settings.attribute
        self._by_context = {value: (engines[number], readers[number]) for value, number in settings.sections.items()}
        self._engines = tuple(engines[number] for number in sorted(engines))

    @property
    def version(self) -> str:
        """A hash of the content, which all contexts share."""
        return self._engines[0].version

    @property
    def rule_count(self) -> int:
        """How many rules can decide, in all contexts."""
        return sum(engine.rule_count for engine in self._engines)

    @property
    def reads(self) -> frozenset[str]:
        """Every attribute that any context's engine can look at, and the one that chooses."""
        own = {f"r.{self._attribute}"}
        return frozenset(own.union(*(engine.reads for engine in self._engines)))

    def read(self, request: AccessRequest) -> tuple[object, ...]:
        """Answer what `evaluate` is to be asked with.

        Raises:
            Refusal: the request lacks what a token of its context stands for.
        """
        value: object = getattr(request, self._root)
        for name in self._path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is None:
            value = ""
        chosen = self._by_context.get(value) if isinstance(value, str) else None
        return (None,) if chosen is None else (chosen[0], *chosen[1](request))

    def evaluate(self, values: Sequence[object], out_of_time: Callable[[], bool]) -> Verdict:
        """Decide by the engine that `read` chose; without one, deny.

        Raises:
            Refusal: DEADLINE_EXCEEDED, once `out_of_time()` says so.
        """
        engine, *rest = values
        if not isinstance(engine, CompiledEngine):
            return Verdict(Effect.DENY, error=f"no sections of the model are meant for this {self._attribute}")
        return engine.evaluate(rest, out_of_time)


def engines_of(settings: ContextSettings, engine: CompiledEngine) -> dict[int, CompiledEngine]:
    """Compile the sections that settings name, by number; `engine` is that of the sections without one.

    Raises:
        PolicyError: the model lacks one of them.
    """
    return {
        number: engine if number == 1 else engine.under(Sections.numbered(number))
        for number in set(settings.sections.values())
    }


def mapping_for(tokens: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Pick the entries of a token mapping that these tokens use."""
    return {token: mapping[token] for token in tokens if token in mapping}


def check_mapping(engines: Mapping[int, CompiledEngine], mapping: Mapping[str, str]) -> None:
    """Refuse a token mapping that no context uses.

    Raises:
        ConfigError: there is one.
    """
    known = dict.fromkeys(token for engine in engines.values() for token in engine.tokens)
    for name in mapping:
        if name not in known:
            raise ConfigError(
                f"attributes.request.{name}: the model has no request token `{name}`; it has {', '.join(known)}"
            )
