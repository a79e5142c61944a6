"""What a call asks for where its body says so: one action, or several."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import msgspec

from authz.memo import Memo
from authz.model import ACTION_RESOURCE, Action, Asked, Attributes, CheckCall, Target

_MEMO_CHARS = 512
"""Resources that longer texts tell of are not remembered (I12)."""


class ReadActions(Protocol):
    """Reads what a request asks for from its body; `authz.actions.reader.ActionReader` does."""

    def __call__(self, call: CheckCall, target: Target, resource: Attributes, protocol: str) -> Sequence[Action]:
        """Answer every action, at least one; () where the request is not read from its body.

        Raises:
            Refusal: it should be, and cannot be read in one way.
        """


def reads_nothing(call: CheckCall, target: Target, resource: Attributes, protocol: str) -> Sequence[Action]:  # noqa: ARG001 - as any other
    """Where no route is read from bodies."""
    return ()


class NamedByBody:
    """Puts what a body asks for in the place of the request's own action."""

    def __init__(self, classify: Callable[[Attributes], Hashable], max_memo_entries: int) -> None:
        self._classify = classify
        self._resources: Memo[Hashable, tuple[Attributes, Hashable]] = Memo(max_memo_entries)

    def in_place_of(self, asked: Asked, actions: Sequence[Action]) -> Asked:
        """What is asked for, of several the first with the others as its batch."""
        if len(actions) == 1:
            return self.one(asked, actions[0])
        first, *further = [self.one(asked, action) for action in actions]
        return msgspec.structs.replace(first, batch=tuple(further))

    def one(self, asked: Asked, action: Action) -> Asked:
        """What is asked for by one action."""
        obj, place = self._resource(asked, action) if action.resource else (asked.obj, asked.place)
        return msgspec.structs.replace(
            asked,
            obj=obj,
            place=place,
            name=action.name,
            args=action.args,
            kind=action.kind,
            tool=action.tool,
            offers=action.offers,
        )

    def offered(self, asked: Asked) -> list[Asked]:
        """What could be asked for next: of what is offered, what the grant covers (I7)."""
        every = [self.one(asked, offer) for offer in asked.offers]
        return every if asked.covers is None else list(filter(asked.covers, every))

    def _resource(self, asked: Asked, action: Action) -> tuple[Attributes, Hashable]:
        """The resource with what the body tells of it; host, path and what the catalogue says stay as they are."""
        told = tuple(sorted(action.resource.items()))
        target = asked.target
        key = (target.host, target.port, target.path, target.method, told)
        found = self._resources.get(key)
        if found is None:
            obj = {**asked.obj, **{name: value for name, value in told if name in ACTION_RESOURCE}}
            found = obj, self._classify(obj)
            if sum(len(str(part)) for part in (target.path, *action.resource.values())) <= _MEMO_CHARS:
                self._resources.put(key, found)
        return found
