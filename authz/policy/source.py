"""A model and its policy files, read and checked, with all that decides what they mean.

What is read here is what every evaluator works on: the compiled engine, the reference, the tools.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping

import msgspec

from authz.errors import ConfigError
from authz.policy import order, perm, rows
from authz.policy.effect import Combining
from authz.policy.expr import Scope, Signature
from authz.policy.functions import Function, UserFunction, registry
from authz.policy.limits import PolicyLimits
from authz.policy.pace import no_pause
from authz.policy.perm import Model
from authz.policy.roles import RoleSettings
from authz.policy.rows import Row


class Sections(msgspec.Struct, frozen=True, kw_only=True):
    """Which definitions of a model are in force: Casbin's request context (EnforceContext)."""

    request: str = "r"
    policy: str = "p"
    effect: str = "e"
    matcher: str = "m"

    @classmethod
    def numbered(cls, number: int) -> "Sections":
        """r2, p2, e2 and m2, for 2."""
        return cls(request=f"r{number}", policy=f"p{number}", effect=f"e{number}", matcher=f"m{number}")


class CompileSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a policy may contain, and how its role grants are read."""

    limits: PolicyLimits = PolicyLimits()
    """How large a policy may be."""
    roles: RoleSettings = RoleSettings()
    """How names, domains and conditions of role grants are compared."""
    max_distinct_expressions: int = 10_000
    """Most expressions that differ in more than their constants; each is compiled, in about 0.1 ms."""


class Source(msgspec.Struct, frozen=True):
    """A model and its rules, parsed, with all that decides what they mean."""

    model: Model
    rows: tuple[Row, ...]
    known_obligations: frozenset[str]
    settings: CompileSettings
    functions: Mapping[str, Function]
    version: str

    def check(self, sections: Sections) -> None:
        """Refuse sections that the model does not define.

        Raises:
            PolicyError: It lacks one.
        """
        model = self.model
        for kind, name in ((model.requests, sections.request), (model.policies, sections.policy)):
            if name not in kind:
                raise model.refuse(0, f"{name} is not defined")
        for entries, name in ((model.effects, sections.effect), (model.matchers, sections.matcher)):
            if name not in entries:
                raise model.refuse(0, f"{name} is not defined")

    def combining(self, sections: Sections) -> Combining:
        """The policy effect.

        Raises:
            PolicyError: It is none of those that Casbin knows.
        """
        entry = self.model.effects[sections.effect]
        try:
            return Combining.of(entry.value)
        except ValueError:
            known = "; ".join(combining.value for combining in Combining)
            raise self.model.refuse(entry.line, f"{entry.name} is not an effect; supported are: {known}") from None

    def scope(self, sections: Sections) -> Scope:
        """The names that matcher and sub-rules may use."""
        signatures = {name: function.signature for name, function in self.functions.items()}
        for name, role in self.model.roles.items():
            signatures[name] = Signature(2 + role.domains, 2 + role.domains)
        tokens, columns = self.model.requests[sections.request], self.model.policies[sections.policy]
        return Scope(sections.request, tokens, sections.policy, columns, signatures)

    def ordered(self, sections: Sections) -> list[Row]:
        """The rules in the order in which they are asked."""
        rules, grants = self.of_type(sections.policy), self.of_type("g")
        return order.ordered(rules, sections.policy, self.combining(sections), self.model, grants)

    def of_type(self, ptype: str) -> list[Row]:
        """The rows of one policy type, as written."""
        return [row for row in self.rows if row.ptype == ptype]


def read(  # noqa: PLR0913, PLR0917  # everything that decides what a policy means, in one place
    model_text: str,
    model_file: str,
    policies: Iterable[tuple[str, str]],
    known_obligations: frozenset[str],
    settings: CompileSettings,
    functions: Mapping[str, Function],
    pause: Callable[[], None] = no_pause,
) -> Source:
    """Read a model and its policy files, given as (name, text).

    Raises:
        PolicyError: Something in a file is wrong; it says where.
    """
    model = perm.parse(model_text, model_file, settings.limits)
    files = tuple(policies)
    return Source(
        model=model,
        rows=rows.parse(files, model, settings.limits, pause),
        known_obligations=known_obligations,
        settings=settings,
        functions=functions,
        version=_version(model_text, files, settings.roles),
    )


def registered(clock: Callable[[], float] | None, functions: Mapping[str, UserFunction]) -> Mapping[str, Function]:
    """The functions that rules may call: Casbin's, and those of configuration.

    Raises:
        ConfigError: A registered function takes the name of another.
    """
    try:
        return registry(clock, functions)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _version(model_text: str, files: Iterable[tuple[str, str]], roles: RoleSettings) -> str:
    """SHA-256, in hex, of what decides: the texts, wherever they lie, and how grants are read."""
    digest = hashlib.sha256()
    texts = [text.encode("utf-8", "surrogatepass") for text in (model_text, *(text for _, text in files))]
    for encoded in (msgspec.json.encode(roles, order="deterministic"), *texts):
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()
