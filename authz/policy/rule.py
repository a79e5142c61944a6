"""One rule, compiled: the code it shares with its like, its own constants, what it says and where it stands."""

from authz.model import Effect, Obligations
from authz.policy.emit import Code
from authz.policy.engine import Verdict
from authz.policy.rows import Row
from authz.policy.specialise import Constants, Variant


class CompiledRule:
    """A rule as it is evaluated. Nothing in it changes, but for the verdict that is made when first wanted."""

    __slots__ = ("_verdict", "code", "constants", "obligations", "ordinal", "row", "says", "variant")

    def __init__(  # noqa: PLR0913, PLR0917  # made in one place only, field by field
        self,
        row: Row,
        ordinal: int,
        variant: Variant,
        constants: Constants,
        says: Effect | None,
        obligations: Obligations,
    ) -> None:
        self.row = row
        self.ordinal = ordinal
        """Its place in the order in which rules are asked."""
        self.variant = variant
        self.code: Code = variant.code
        self.constants = constants
        self.says = says
        self.obligations = obligations
        self._verdict: Verdict | None = None

    def with_code(self, code: Code) -> "CompiledRule":
        """The same rule, evaluated by other code."""
        if code is self.code:
            return self
        other = CompiledRule(self.row, self.ordinal, self.variant, self.constants, self.says, self.obligations)
        other.code = code
        return other

    @property
    def verdict(self) -> Verdict:
        """The verdict when this rule alone decides."""
        if self._verdict is None:
            self._verdict = Verdict(self.says or Effect.DENY, self.row.reference, self.obligations)
        return self._verdict
