"""How the protocol tells of the rules that came near to a request."""

from typing import Protocol

from authz.audit.redact import masked
from authz.control.v1 import policies_pb2 as pb
from authz.policy.explain import Explanation

_MAX_CHARS = 1_024


class NearRules(Protocol):
    """A field of repeated `NearRule`."""

    def add(self, *, rule: str, effect: str) -> pb.NearRule:
        """Add one, and answer it."""


def tell_near(found: Explanation, near: NearRules) -> None:
    """Add what an explanation found, the values of the request with their secrets masked (I10)."""
    for each in found.near:
        rule = near.add(rule=each.rule.id, effect=each.says.value if each.says else "")
        for part in each.conditions:
            condition = rule.conditions.add(text=part.text, state=part.state.value, error=part.error)
            condition.seen.update({name: masked(value, _MAX_CHARS) for name, value in part.seen})
