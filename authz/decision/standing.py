"""Whether callers and grants still stand: what is revoked, and how old the knowledge of it is."""

from collections.abc import Callable, Iterable
from typing import Annotated, Protocol, TypeAlias

import msgspec

from authz.errors import Reason
from authz.grants.grant import Grant
from authz.model import CURRENT, Attributes, Freshness, Subject

_Age: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=31_536_000)]


class Refuses(Protocol):
    """Knows what is revoked; `grants.revocations.RevocationView` does."""

    def refusal(self, subject: Subject, grant: Grant | None, now: float) -> Reason | None:
        """Answer why this caller, with this grant, may not go on at `now`; None when nothing known forbids it.

        Called on the path of every request, so it looks in memory and nowhere else.
        """


class Standing(Refuses, Protocol):
    """Knows what may not go on, at every request anew: no decision that is used again rests on it (I3, I4)."""

    def freshness(self) -> Freshness:
        """Answer how old what is known of it is."""


class NothingRevoked:
    """Where nothing shared is configured, nothing can have been revoked."""

    def refusal(self, subject: Subject, grant: Grant | None, now: float) -> Reason | None:  # noqa: ARG002
        """Nothing forbids it."""
        return None

    def freshness(self) -> Freshness:
        """Nothing is shared, so that nothing is older than here."""
        return CURRENT


NOTHING_REVOKED = NothingRevoked()


class FreshnessClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds for the resources of one class, as the catalogue describes them; with both, both must fit."""

    type: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The type of resource; "": any."""
    sensitivity: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Its sensitivity; "": any."""
    max_policy_age_seconds: _Age = 0.0
    """As the general one, for these. 0: the general one alone."""
    max_revocation_age_seconds: _Age = 0.0
    """As the general one, for these. 0: the general one alone."""


class FreshnessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How old what a decision rests on may be. Past a bound it is denied with `state_stale`."""

    max_policy_age_seconds: _Age = 0.0
    """How long ago the policy in force was last known to be the newest of its source: while that cannot be asked, or
    what it holds does not load, the age grows. Past it everything is denied, and the server is not ready. 0: no bound.
    Not shorter than a load takes."""
    max_revocation_age_seconds: _Age = 0.0
    """How long ago the revocations in memory were last known to be all, where it shall be less than
    `store.max_staleness_seconds`. 0: that alone."""
    classes: Annotated[tuple[FreshnessClass, ...], msgspec.Meta(max_length=64)] = ()
    """Tighter bounds for some resources. Of all that fit each holds; the server stays ready for the others."""

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, message) for each setting that contradicts another."""
        for number, each in enumerate(self.classes, 1):
            if not each.type and not each.sensitivity:
                yield "classes", f"class {number}: give a type, a sensitivity, or both"
            if not each.max_policy_age_seconds and not each.max_revocation_age_seconds:
                yield "classes", f"class {number} bounds nothing: give one of its ages"


class Bounds(Protocol):
    """Knows how old the state may be on which decisions about a resource rest."""

    def exceeded(self, obj: Attributes, fresh: Freshness) -> str:
        """Answer what is too old; "" when nothing is. Asked at every request, cached or not."""


class NoBounds:
    """Where no class of resources has bounds of its own."""

    def exceeded(self, obj: Attributes, fresh: Freshness) -> str:  # noqa: ARG002
        """Nothing is too old."""
        return ""


NO_BOUNDS = NoBounds()


class ClassBounds:
    """Bounds by the class of a resource."""

    def __init__(self, classes: Iterable[FreshnessClass]) -> None:
        self._classes = tuple(
            (each.type, each.sensitivity, limits_of(each.max_policy_age_seconds, each.max_revocation_age_seconds))
            for each in classes
        )

    def exceeded(self, obj: Attributes, fresh: Freshness) -> str:
        """Answer what is too old. Cost: 0.1 us for each class."""
        for kind, sensitivity, limits in self._classes:
            if (not kind or obj.get("type") == kind) and (not sensitivity or obj.get("sensitivity") == sensitivity):
                problem = limits.problem(fresh)
                if problem:
                    return problem
        return ""


def bounds_of(settings: FreshnessSettings) -> Bounds:
    """Answer what knows the bounds of resources."""
    return ClassBounds(settings.classes) if settings.classes else NO_BOUNDS


class FreshnessLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How old it may be."""

    max_policy_age_seconds: float = float("inf")
    max_revocation_age_seconds: float = float("inf")

    def problem(self, fresh: Freshness) -> str:
        """What is too old; "" when nothing is. An age that is no number is too old."""
        if not fresh.revocations <= self.max_revocation_age_seconds:
            return "revocations"
        return "" if fresh.policy <= self.max_policy_age_seconds else "policy"


def limits_of(max_policy_age_seconds: float, max_revocation_age_seconds: float) -> FreshnessLimits:
    """Answer the limits that settings mean, in which 0 is none."""
    return FreshnessLimits(
        max_policy_age_seconds=max_policy_age_seconds or float("inf"),
        max_revocation_age_seconds=max_revocation_age_seconds or float("inf"),
    )


class FreshStanding:
    """A standing that counts only while it is fresh; then everything that rests on it is refused (I2)."""

    def __init__(
        self, standing: Callable[[], Refuses], freshness: Callable[[], Freshness], limits: FreshnessLimits
    ) -> None:
        """`standing` answers the view in force, which may be replaced as a whole; both must be quick."""
        self._standing = standing
        self.freshness = freshness
        self._limits = limits

    def refusal(self, subject: Subject, grant: Grant | None, now: float) -> Reason | None:
        """As `Standing.refusal`; STATE_STALE past a limit, whoever asks: anybody may have been revoked meanwhile."""
        if self._limits.problem(self.freshness()):
            return Reason.STATE_STALE
        return self._standing().refusal(subject, grant, now)
