"""Who called whom, as far as trusted proxies vouch for it.

Each proxy that appends to `x-forwarded-client-cert` states one hop: `By` (itself) was called by `URI`. What stands left
of that was in the header when it came, so it counts only if who sent it, that `URI`, is a proxy trusted to say so, and
says it under its own name. One step that does not hold refuses the whole header: to drop the unproven part would let a
SAN with a comma in it place a forged element at the right end, where the proven ones are.
"""

from collections.abc import Collection, Sequence

from authz.errors import Reason, Refusal
from authz.identity.xfcc import XfccElement
from authz.spiffe import SpiffeId, parse_spiffe_id, require_workload


def prove_hops(elements: Sequence[XfccElement], proxies: Collection[SpiffeId]) -> tuple[SpiffeId, ...]:
    """The callers of each hop, oldest first; the last one is the caller of this hop.

    The last element is taken as written by the nearest proxy: configuration says so. `proxies` vouch for the others.

    Raises:
        Refusal: XFCC_HOP_UNTRUSTED, CERTIFICATE_WITHOUT_SPIFFE_ID, SPIFFE_ID_MALFORMED, SPIFFE_ID_WITHOUT_PATH.
    """
    callers = tuple(_caller(element) for element in elements)
    for element, sender in zip(elements[:-1], callers[1:], strict=True):
        if sender not in proxies:
            raise Refusal(Reason.XFCC_HOP_UNTRUSTED, f"{sender} is not a proxy that may vouch for its callers")
        if element.by != str(sender):
            raise Refusal(Reason.XFCC_HOP_UNTRUSTED, f"an element handed on by {sender} does not name it in By")
    return callers


def _caller(element: XfccElement) -> SpiffeId:
    if not element.uri:
        raise Refusal(Reason.CERTIFICATE_WITHOUT_SPIFFE_ID, "an element without URI")
    return require_workload(parse_spiffe_id(element.uri))
