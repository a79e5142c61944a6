"""What can be set about reading A2A."""

from typing import Annotated, Literal

import msgspec


class A2aSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How A2A requests are read."""

    skill_key: Annotated[str, msgspec.Meta(max_length=256)] = "skill"
    """The key of a message's (or of its request's) metadata by which callers name the skill that they ask for; A2A
    itself has no field for it. What it names is the caller's word: rely on it where the agent does. "": not read."""
    versions: Annotated[tuple[Literal["1.0", "0.3"], ...], msgspec.Meta(min_length=1, max_length=2)] = ("1.0", "0.3")
    """The revisions of A2A that are read; a request of another is denied."""
