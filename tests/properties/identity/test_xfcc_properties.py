"""What holds for every x-forwarded-client-cert."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Refusal
from authz.identity.hops import prove_hops
from authz.identity.xfcc import XfccElement, XfccSettings, parse_xfcc
from authz.spiffe import parse_spiffe_id

SETTINGS = XfccSettings()
printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
elements = st.builds(
    XfccElement,
    by=printable,
    hash=st.sampled_from(["", "0a" * 32]),
    certificate=printable,
    chain=printable,
    subject=printable,
    uri=printable,
    dns=st.lists(printable, max_size=3).map(tuple),
    issuer=printable,
)


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(element):
    """An independent writer that quotes everything."""
    pairs = [
        ("By", element.by),
        ("Hash", element.hash),
        ("CERT", element.certificate),
        ("chain", element.chain),
        ("Subject", element.subject),
        ("URI", element.uri),
        ("Issuer", element.issuer),
        *(("DNS", name) for name in element.dns),
    ]
    return ";".join(f"{key}={quoted(value)}" for key, value in pairs)


@given(st.lists(elements, min_size=1, max_size=4))
def test_whatever_is_written_quoted_is_read_back(chain):
    assert parse_xfcc(",".join(map(written, chain)), 4, SETTINGS) == tuple(chain)


@given(st.text() | st.text('By=URI;,"\\ a', max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        read = parse_xfcc(text, 3, SETTINGS)
    except Refusal:
        return
    assert 1 <= len(read) <= 3


NAMES = ["spiffe://td/edge", "spiffe://td/inner", "spiffe://td/client", "spiffe://td/admin"]
PROXIES = frozenset(map(parse_spiffe_id, NAMES[:2]))
links = st.builds(XfccElement, by=st.sampled_from([*NAMES, ""]), uri=st.sampled_from(NAMES))


@given(st.lists(links, min_size=1, max_size=5))
def test_a_chain_is_proven_exactly_when_every_sender_is_a_trusted_proxy_under_its_own_name(chain):
    held = all(newer.uri in NAMES[:2] and older.by == newer.uri for older, newer in pairwise(chain))
    try:
        hops = prove_hops(chain, PROXIES)
    except Refusal:
        assert not held
        return
    assert held
    assert [str(hop) for hop in hops] == [element.uri for element in chain]
    assert str(hops[-1]) == chain[-1].uri


@given(st.lists(links, min_size=1, max_size=4), links)
def test_what_a_caller_puts_in_front_never_changes_who_calls(chain, forged):
    """With or without it the caller is the same, or the header is refused."""
    try:
        honest = prove_hops(chain, PROXIES)[-1]
        assert prove_hops([forged, *chain], PROXIES)[-1] == honest
    except Refusal:
        pass
