"""Who called whom, as far as trusted proxies vouch for it."""

import pytest

from authz.errors import Reason, Refusal
from authz.identity.hops import prove_hops
from authz.identity.xfcc import XfccElement
from authz.spiffe import parse_spiffe_id

EDGE, INNER, CLIENT, ADMIN = (f"spiffe://td/{name}" for name in ("edge", "inner", "client", "admin"))
PROXIES = frozenset({parse_spiffe_id(EDGE), parse_spiffe_id(INNER)})


def element(by, uri):
    return XfccElement(by=by, uri=uri)


def reason_of(elements, proxies=PROXIES):
    with pytest.raises(Refusal) as caught:
        prove_hops(elements, proxies)
    return caught.value.reason


def test_one_element_is_what_the_nearest_proxy_saw():
    assert prove_hops([element("", CLIENT)], frozenset()) == (parse_spiffe_id(CLIENT),)


def test_trusted_proxies_prove_earlier_hops():
    chain = [element(EDGE, CLIENT), element(INNER, EDGE), element("spiffe://td/last", INNER)]
    assert [str(hop) for hop in prove_hops(chain, PROXIES)] == [CLIENT, EDGE, INNER]


def test_an_element_that_an_untrusted_caller_brought_is_refused():
    assert reason_of([element(EDGE, ADMIN), element(EDGE, CLIENT)]) is Reason.XFCC_HOP_UNTRUSTED


def test_an_element_that_does_not_name_its_sender_is_refused():
    assert reason_of([element(INNER, ADMIN), element(INNER, EDGE)]) is Reason.XFCC_HOP_UNTRUSTED
    assert reason_of([element("", ADMIN), element(INNER, EDGE)]) is Reason.XFCC_HOP_UNTRUSTED


def test_a_break_anywhere_refuses_the_whole_header():
    chain = [element(CLIENT, ADMIN), element(EDGE, CLIENT), element(INNER, EDGE)]
    assert reason_of(chain) is Reason.XFCC_HOP_UNTRUSTED


def test_an_element_forged_by_a_san_with_a_comma_proves_nothing():
    """The certificate's one URI SAN is `spiffe://td/x,By=spiffe://td/edge;URI=spiffe://td/admin`."""
    assert reason_of([element(EDGE, "spiffe://td/x"), element(EDGE, ADMIN)]) is Reason.XFCC_HOP_UNTRUSTED


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", Reason.CERTIFICATE_WITHOUT_SPIFFE_ID),
        ("spiffe://td", Reason.SPIFFE_ID_WITHOUT_PATH),
        ("spiffe://TD/x", Reason.SPIFFE_ID_MALFORMED),
        ("https://td/x", Reason.SPIFFE_ID_MALFORMED),
    ],
)
def test_every_caller_needs_a_workloads_id(uri, reason):
    assert reason_of([element(EDGE, uri)]) is reason
    assert reason_of([element(EDGE, uri), element(INNER, EDGE)]) is reason
