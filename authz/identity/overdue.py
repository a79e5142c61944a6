"""Certificates that are in use for longer than they should be."""

from collections.abc import Iterator
from enum import Enum

import msgspec

from authz.identity.sharing import Usage
from authz.identity.sharing_settings import SharingSettings
from authz.identity.sightings import Evidence, Sighting


class Problem(Enum):
    """What is wrong with a certificate."""

    NOT_ROTATED = "not_rotated"
    """It is older than the rotation, and a younger one of the same identity is in use."""
    LIVES_TOO_LONG = "lives_too_long"
    """From its beginning to its end is longer than it should be."""


class Overdue(msgspec.Struct, frozen=True):
    """A certificate that is in use though it should not be."""

    identity: str
    fingerprint: str
    problem: Problem
    sighting: Sighting


def overdue(usage: Usage, settings: SharingSettings, now: float) -> Iterator[Overdue]:
    """Answer what is wrong with the certificates that an identity uses; not of those of unknown times."""
    certificates = [(name, each) for name, each in usage.evidence(Evidence.CERTIFICATE, now) if each.not_before > 0]
    newest = max((each.not_before for _, each in certificates), default=0.0)
    for fingerprint, each in certificates:
        if 0 < settings.rotation_seconds < now - each.not_before and each.not_before < newest:
            yield Overdue(usage.id, fingerprint, Problem.NOT_ROTATED, each)
        if 0 < settings.max_lifetime_seconds < each.not_after - each.not_before:
            yield Overdue(usage.id, fingerprint, Problem.LIVES_TOO_LONG, each)
