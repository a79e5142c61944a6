"""What can be set about the candidate policy."""

from typing import Annotated

import msgspec

from authz.stores.policy_files import PolicySettings


class ShadowSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A candidate policy that decides beside the live one, without any effect on an answer.

    Where the two differ, a record `shadow_difference` goes to the audit trail. The candidate is asked after the answer
    was given, in a thread of its own; what would be too much work is left out and counted.
    """

    policy: PolicySettings
    """The candidate's model and rules, or bundle; keys, inventory and catalogue are the live ones."""
    sample: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """The share of calls that the candidate is asked about, chosen by chance."""
    queue_calls: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    """Most calls that wait for the candidate; each holds what the proxy sent, its body included."""
    max_cpu_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.1
    """The largest share of one core that the candidate may take."""
    max_seconds: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.05
    """How long one decision of the candidate may take, in seconds."""
    max_records_per_second: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 100.0
    """Most differences that are recorded, each second; the others are only counted."""
