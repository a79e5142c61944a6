"""A human who decides, as an OpenID provider vouches for them (I8)."""

import unicodedata
from collections.abc import Collection, Iterable, Mapping

import msgspec

from authz.model import Credential, Value

_MAX_GROUPS = 1_000
_MAX_CHARS = 256


class Human(msgspec.Struct, frozen=True):
    """One person; two are the same exactly if their ids are."""

    id: str
    """ "issuer#subject"."""
    name: str
    """What they are called; for people only, nothing rests on it."""
    groups: frozenset[str]
    """The approvers' groups that they are of, in this server's names."""
    names: frozenset[str]
    """Every name by which an owner or origin may mean this person: folded, the provider's groups among them."""
    expires: float
    """When the token ends that proves them (I4)."""
    token: Credential | None = None
    """That token, without the thing itself: what is revoked may name its issuer and time."""


def human_of(  # noqa: PLR0913, PLR0917 - what a token tells
    issuer: str,
    subject: str,
    claims: Mapping[str, Value],
    expires: float,
    groups_claim: str,
    name_claims: Collection[str],
    groups: Mapping[str, Collection[str]],
) -> Human:
    """The person of a verified token. `groups`: for each group of ours, the values of the claim that make one of it.

    Raises:
        ValueError: the claim of groups is no list of texts, so that nobody is let in on it.
    """
    theirs = frozenset(_texts(claims.get(groups_claim), groups_claim))
    called = [text for name in name_claims if isinstance(text := claims.get(name), str) and text]
    person = f"{issuer}#{subject}"
    return Human(
        id=person,
        name=(called[0] if called else subject)[:_MAX_CHARS],
        groups=frozenset(group for group, values in groups.items() if not theirs.isdisjoint(values)),
        names=frozenset(map(folded, (person, subject, *called, *theirs))),
        expires=expires,
    )


def folded(text: str) -> str:
    """A name as it is compared where a match only takes away: case and look-alike forms of letters do not count."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


def is_one_of(human: Human, parties: Iterable[str]) -> bool:
    """Whether this person is among those named."""
    return any(folded(party) in human.names for party in parties if party)


def _texts(value: Value, name: str) -> Iterable[str]:
    if value is None:
        return ()
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or len(found) > _MAX_GROUPS:
        raise ValueError(f"the claim {name!r} is not a list of at most {_MAX_GROUPS} texts")
    if not all(isinstance(each, str) for each in found):
        raise ValueError(f"the claim {name!r} holds something that is no text")
    return [each for each in found if isinstance(each, str)]
