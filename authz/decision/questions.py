"""What a call asks for, found out once for calls that differ in ids at most.

What is remembered holds for one snapshot, and for one caller and grant: who they are, and whether they still stand, is
found out for every call anew.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping

import msgspec

from authz.decision.key import Key
from authz.decision.snapshot import Snapshot
from authz.grants.verifier import VerifiedGrant
from authz.memo import Memo, size
from authz.model import Asked, Attributes, CheckCall, Freshness, Recurrence, Subject

_MOST_BYTES = 8_192
"""Questions that take more, with what they know of the caller, are not remembered: bodies choose their size (I12)."""
_CREDIT, _MOST_CREDIT = 64, 1_024
"""How many questions are looked into before one has been recalled, and ever in a row. Each that is earns another."""
_ONE_OF = 16
"""Without credit, of so many that come again one is looked into."""
_FREED_AT_ONCE = 16
"""Most void questions that are let go of at a time: some 10 us."""

_At = tuple[int, str, int, int]


class Known:
    """A question that was asked before, in full: of a caller with a grant, or none, in a form, for a path."""

    __slots__ = ("asked", "key", "presented", "recurrence", "subject")

    def __init__(
        self, recurrence: Recurrence, subject: Subject, presented: VerifiedGrant | None, asked: Asked, key: Key | None
    ) -> None:
        self.recurrence = recurrence
        self.subject = subject
        self.presented = presented
        """Kept, like the two before it, so that no other can take its place in memory, by which it is known."""
        self.asked = asked
        self.key = key


class Questions:
    """Names what calls ask for. Not for use by several threads."""

    def __init__(self, max_entries: int, shape: Callable[[CheckCall], Hashable]) -> None:
        """`shape`: what of a call the form of its answer depends on, as `Codec.shape` says."""
        self._shape = shape
        self._snapshot: Snapshot | None = None
        self._known: Memo[_At, Known] = Memo(max_entries)
        self._worth: Memo[_At, bool] = Memo(max_entries)
        """Of what came once whether it is to be looked into when it comes again."""
        self._credit = _CREDIT
        self._void: list[dict[_At, Known] | dict[_At, bool]] = []
        """What a reload left behind: 16,384 questions freed at once would keep a request waiting for 10 ms."""

    def recall(
        self,
        snapshot: Snapshot,
        call: CheckCall,
        subject: Subject,
        presented: VerifiedGrant | None,
        sharing: Attributes,
    ) -> Known | None:
        """The same question, as it was asked before; None: it was not, or is not remembered.

        Cost: about a third of a microsecond.
        """
        if snapshot is not self._snapshot:  # whatever calls, so that none that was replaced is kept alive
            self._snapshot = snapshot
            self._void += [*self._known.take(), *self._worth.take()]
        if call.recurrence is None:
            return None
        known = self._known.get(_place(call, subject, presented))
        if known is None or known.asked.sharing is not sharing:
            return None
        if self._credit < _MOST_CREDIT:
            self._credit += 1
        return known

    def key(  # noqa: PLR0913 - all that a question consists of
        self,
        snapshot: Snapshot,
        call: CheckCall,
        subject: Subject,
        presented: VerifiedGrant | None,
        asked: Asked,
        *,
        named: bool,
    ) -> Key | None:
        """The key of a question's decision, as `KeyMaker.key` makes it; what comes again is remembered.

        `named`: `asked` is what `name` answered, with nothing in it of what the task did so far.

        Raises:
            Refusal: as `KeyMaker.key`.
        """
        key = snapshot.keys.key(call, asked, subject, self._shape(call))
        recurrence = call.recurrence
        if named and recurrence is not None:
            self._free_some()
            place = _place(call, subject, presented)
            worth = self._worth.get(place)
            if worth is None:
                self._worth.put(place, True)  # most paths never come again
            elif worth and self._pays():
                known = Known(recurrence, subject, presented, asked, key)
                if _taken(known) <= _MOST_BYTES and self._rests_on_form(snapshot, call, known):
                    self._known.put(place, known)
                else:
                    self._worth.put(place, False)
        return key

    def _pays(self) -> bool:
        """Whether to look into another one: where paths hardly ever come again, that costs more than it saves."""
        self._credit -= 1
        if self._credit >= 0:
            return True
        if self._credit > -_ONE_OF:
            return False
        self._credit = 0
        return True

    def _free_some(self) -> None:
        """Let go of some of what is void: called before any is remembered, so that there is never more of both."""
        for _ in range(_FREED_AT_ONCE):
            if not self._void:
                return
            if self._void[-1]:
                self._void[-1].popitem()
            else:
                self._void.pop()

    def _rests_on_form(self, snapshot: Snapshot, call: CheckCall, known: Known) -> bool:
        """Whether a question, and its key, are the same for all calls of its form for its path (I3).

        They are if none of what differs between such calls is looked at on the way: then the way is the same for all.
        """
        asked = known.asked
        headers = _Watched(call.headers, known.recurrence.differing)
        like = msgspec.structs.replace(call, stream_id="", headers=headers)
        try:
            again = name(snapshot, like, known.presented, asked.fresh, asked.sharing)
            same = again == asked and snapshot.keys.key(like, again, known.subject, self._shape(like)) == known.key
        except Exception:  # noqa: BLE001 - whatever wants more of headers than that they are a mapping
            return False
        return same and not headers.noted


def _taken(known: Known) -> int:
    """What a question takes in bytes: all that whoever calls chooses of it."""
    asked, claims = known.asked, known.subject.claims
    target, task = asked.target, asked.task
    taken = 4 * (len(target.path) + len(target.query) + len(str(task["id"])) + len(str(task["purpose"])))
    if claims:
        taken += size(claims)
    if asked.args or asked.batch or asked.tool:
        taken += size([(each.name, each.obj, each.args) for each in asked.every])
    return taken


def _place(call: CheckCall, subject: Subject, presented: VerifiedGrant | None) -> _At:
    """By what a question is known. Whoever keeps it keeps these, so that no others can take their places in memory."""
    return id(call.recurrence), call.path, id(subject), id(presented)


def name(
    snapshot: Snapshot, call: CheckCall, presented: VerifiedGrant | None, fresh: Freshness, sharing: Attributes
) -> Asked:
    """What a call asks for, found out afresh.

    Raises:
        Refusal: as the canonical form and the binder say.
    """
    return snapshot.binder.name(call, snapshot.canonicalise(call), presented, fresh, sharing)


class _Watched(Mapping[str, str]):
    """Headers that note whether one is looked at in which calls differ. That they are there does not differ."""

    def __init__(self, headers: Mapping[str, str], differing: frozenset[str]) -> None:
        self._headers = headers
        self._differing = differing
        self.noted = False

    def __getitem__(self, name: str) -> str:
        if name in self._differing:
            self.noted = True
        return self._headers[name]

    def __contains__(self, name: object) -> bool:
        return name in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)
