"""What the linter can find: a stable code for each sort of finding, how bad it is, and where one stands."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec


class Severity(Enum):
    """How bad a finding is."""

    ERROR = "error"
    """The policy does not load, or a rule errs for every request that reaches it."""
    WARNING = "warning"
    """It loads, but hardly means what its author thinks."""
    INFO = "info"
    """Worth knowing."""


_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

CODES: Mapping[str, Severity] = MappingProxyType(
    {
        "model-refused": _E,
        "row-refused": _E,
        "rule-refused": _E,
        "syntax": _E,
        "unknown-attribute": _E,
        "unknown-function": _E,
        "type-mismatch": _E,
        "request-controlled-pattern": _E,
        "unsupported-pattern": _E,
        "never-matches": _W,
        "indeterminate": _W,
        "duplicate": _W,
        "shadowed": _W,
        "never-asked": _W,
        "unguarded-key": _W,
        "wildcard-over-sensitive": _W,
        "role-cycle": _W,
        "useless-exemption": _W,
        "malformed-exemption": _W,
        "overlap": _I,
        "nested-quantifiers": _I,
        "not-compared": _I,
    }
)
"""Every code; docs/policy-tools.md says what each means and what to do."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a policy, or worth knowing."""

    code: str
    file: str
    line: int
    """From 1; 0: the whole file."""
    column: int = 0
    """From 1; 0: the whole line."""
    end: int = 0
    """The last column."""
    message: str
    advice: str = ""

    @property
    def severity(self) -> Severity:
        """How bad it is; its code says so."""
        return CODES[self.code]

    @property
    def place(self) -> str:
        """File, line and column, as far as they are known."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)
