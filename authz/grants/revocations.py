"""The view of what is revoked that one process keeps, and the feed that keeps it current."""

from authz.errors import AuthzError, Reason
from authz.grants.changes import RevocationChange
from authz.grants.grant import Grant
from authz.grants.revoked import Revoked
from authz.model import Subject


class FeedGap(AuthzError):
    """A change is missing between the last one applied and this one: read on from `after`, or load a snapshot."""

    def __init__(self, after: int, found: int) -> None:
        super().__init__(f"revocations: change {found} came after {after}")
        self.after = after
        self.found = found


class RevocationView:
    """What is revoked, as of a number in the feed. Belongs to one event loop."""

    def __init__(self, revoked: Revoked, sequence: int = 0) -> None:
        """`revoked`: all that is in force as of `sequence`, which is this object's from now on."""
        self._revoked = revoked
        self._sequence = sequence
        self._epoch = 0

    @property
    def sequence(self) -> int:
        """The number of the last change applied; 0: none yet."""
        return self._sequence

    @property
    def epoch(self) -> int:
        """Counts the changes made here; it moves after the view has changed."""
        return self._epoch

    def __len__(self) -> int:
        """How many entries are held."""
        return len(self._revoked)

    def refusal(self, subject: Subject, grant: Grant | None, now: float) -> Reason | None:
        """As `Revoked.refusal`."""
        return self._revoked.refusal(subject, grant, now)

    def revocation(self, subject: Subject, grant: Grant | None, now: float) -> Reason | None:
        """As `Revoked.revocation`."""
        return self._revoked.revocation(subject, grant, now)

    def apply(self, sequence: int, change: RevocationChange | None) -> bool:
        """Take the next change of the feed; answer whether it was new. None: one that concerns something else.

        Raises:
            FeedGap: changes are missing.
        """
        if sequence <= self._sequence:
            return False
        if sequence != self._sequence + 1:
            raise FeedGap(self._sequence, sequence)
        if change is not None:
            self._revoked.take(change)
            self._epoch += 1
        self._sequence = sequence
        return True

    def replace(self, revoked: Revoked, sequence: int) -> None:
        """Put all that is in force as of `sequence`, filled elsewhere, in place of what is here.

        Raises:
            ValueError: older than what is here: a source that lags would let the revoked in again.
        """
        if sequence < self._sequence:
            raise ValueError(f"revocations: a snapshot as of {sequence}, older than {self._sequence}")
        self._revoked = revoked
        self._sequence = sequence
        self._epoch += 1

    def sweep(self, now: float, limit: int) -> int:
        """As `Revoked.sweep`; the epoch stands still, for no answer changes."""
        return self._revoked.sweep(now, limit)
