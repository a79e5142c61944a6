"""Who is told of every caller, and answers whether its identity is shared."""

from typing import Protocol

from authz.model import NOT_SHARED, Attributes, CheckCall, Subject


class Observes(Protocol):
    """Watches identities; `identity.sharing.SharingTracker` does."""

    def observe(self, call: CheckCall, subject: Subject, now: float) -> Attributes:
        """Note a call, and answer `r.sub.shared` and `r.sub.sharing` as they are at `now`.

        Called on the path of every request, so it looks in memory and nowhere else. What it answers is never changed.

        Raises:
            Refusal: the call declares something that cannot be.
        """


class NotObserved:
    """Where nobody watches, nothing is known to be shared."""

    def observe(self, call: CheckCall, subject: Subject, now: float) -> Attributes:  # noqa: ARG002
        """Nothing is known."""
        return NOT_SHARED


NOT_OBSERVED = NotObserved()


class Looks(Protocol):
    """Knows whose identity is shared."""

    def look(self, subject: Subject, now: float) -> Attributes:
        """Answer what `Observes.observe` would, and note nothing."""


class Onlooker:
    """Asks what is known for a dry run, which must not count as a call."""

    def __init__(self, known: Looks) -> None:
        self._look = known.look

    def observe(self, call: CheckCall, subject: Subject, now: float) -> Attributes:  # noqa: ARG002
        """Answer what is known."""
        return self._look(subject, now)
