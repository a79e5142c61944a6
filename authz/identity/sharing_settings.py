"""When an identity counts as shared, and how much is remembered to tell."""

from typing import Annotated, Final

import msgspec

UNREAD: Final = "\n"
"""Stands for a header that is not read: none has that name."""


class SharingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When one identity counts as used by more workloads than it is meant for.

    The inventory says how many those are (`expected_instances`, `max_addresses`, `max_task_owners`); the numbers here
    are for who states none.
    """

    enabled: bool = True
    """Whether it is looked at; off, `r.sub.shared` is false for everybody."""
    window_seconds: Annotated[float, msgspec.Meta(ge=10, le=86_400)] = 300.0
    """What was not seen for so long is not in use any more."""
    default_instances: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    """How many instances, each with a certificate and an address of its own, an identity has unless the inventory
    says so."""
    default_task_owners: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    """For how many declared task owners an identity works at a time unless the inventory says so."""
    task_owner_header: Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9-]{0,64}\Z")] = ""
    """Header, in lower case, in which a caller declares for whom it works. Whoever can have a workload send it can make
    that workload count as shared: set it where workloads write it themselves. "": not read."""
    max_owner_characters: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 256
    """Longest owner; longer is refused."""
    certificate_handover_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 300.0
    """For so long after a new certificate was first seen the one that it replaces may still be: connections outlive a
    rotation. Not shorter than the longest connection."""
    address_handover_seconds: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 60.0
    """Likewise for the address of an instance that another replaces, as in a rolling update."""
    rotation_seconds: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 0.0
    """How old a certificate may be before another should have replaced it; older ones, while a younger one of the same
    identity is in use, are reported. 0: not looked at."""
    max_lifetime_seconds: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 0.0
    """Certificates that live longer are reported (`certificates.max_lifetime_seconds` refuses them). 0: not looked
    at."""
    resolution_seconds: Annotated[float, msgspec.Meta(ge=0.01, le=60)] = 1.0
    """How exactly times are kept: what was seen a moment ago is not looked at again."""
    max_identities: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20_000
    """How many identities are watched; beyond that the least recently seen go first, those found shared last."""
    max_evidence: Annotated[int, msgspec.Meta(ge=2, le=100_000)] = 32
    """How many certificates, addresses and owners, each, are remembered of an identity, or one more than the inventory
    expects of it. When more different ones were seen within a window, it counts as shared, at once or not. A sighting
    takes some 150 bytes."""
    exchange_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=600)] = 10.0
    """How often processes tell one another what they saw, where there is a shared store."""
    last_seen_seconds: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60.0
    """How exactly it is kept when an identity, certificate, address or owner was last seen."""
    max_exchange_rows: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 2_000
    """Most sightings that one exchange writes, or reads, at a time; the rest goes with the next."""
    unused_days: Annotated[float, msgspec.Meta(ge=0.01, le=3_650)] = 90.0
    """After how many days without a call an identity of the inventory is reported as unused."""

    @property
    def owner_header(self) -> str:
        """The name of the header that is read."""
        return self.task_owner_header or UNREAD
