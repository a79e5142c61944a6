"""x-forwarded-client-cert by its whole grammar, or not at all."""

import itertools

import pytest

from authz.errors import Reason, Refusal
from authz.identity.xfcc import XfccElement, XfccSettings, parse_xfcc

HASH = "e658b857485cbf76f5f4c3b98d0e93f388cba4660cec565488f9dd83f66f84d8"
SETTINGS = XfccSettings()


def parse(text, max_elements=4, settings=SETTINGS):
    return parse_xfcc(text, max_elements, settings)


def reason_of(text, **changes):
    with pytest.raises(Refusal) as caught:
        parse(text, **changes)
    return caught.value.reason


def test_an_element_as_envoy_writes_it():
    text = (
        f"By=spiffe://prod.example/ns/edge/sa/envoy;Hash={HASH};"
        'Cert="-----BEGIN%20CERTIFICATE-----%0AMII%2B%3D%0A";Chain="x%0A";'
        'Subject="CN=planner,O=lab; \\"x\\"";URI=spiffe://prod.example/ns/agents/sa/planner;DNS=a.example;DNS=b.example;'
        'Issuer="CN=root"'
    )
    assert parse(text) == (
        XfccElement(
            by="spiffe://prod.example/ns/edge/sa/envoy",
            hash=HASH,
            certificate="-----BEGIN%20CERTIFICATE-----%0AMII%2B%3D%0A",
            chain="x%0A",
            subject='CN=planner,O=lab; "x"',
            uri="spiffe://prod.example/ns/agents/sa/planner",
            dns=("a.example", "b.example"),
            issuer="CN=root",
        ),
    )


def test_elements_stand_oldest_first():
    assert [e.uri for e in parse("URI=a,URI=b, URI=c")] == ["a", "b", "c"]


def test_keys_are_case_insensitive_and_values_are_not():
    assert parse("uRi=Spiffe;dns=A") == (XfccElement(uri="Spiffe", dns=("A",)),)


def test_blanks_around_keys_and_values_do_not_count():
    assert parse(' By = a ; URI= "b" , DNS =c ') == (XfccElement(by="a", uri="b"), XfccElement(dns=("c",)))


def test_separators_inside_quotes_belong_to_the_value():
    assert parse('By=test;URI="a,b,c;\\"e;f;g=x";DNS=example.com')[0].uri == 'a,b,c;"e;f;g=x'


def test_only_quote_and_backslash_are_unescaped():
    assert parse(r'Subject="O=A\, B\"C\\"')[0].subject == 'O=A\\, B"C\\'


def test_empty_values_are_absent():
    assert parse('Subject="";URI=') == (XfccElement(),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ",",
        ";",
        "URI",
        "=x",
        "URI=a,",
        ",URI=a",
        "URI=a,,URI=b",
        "URI=a;",
        "URI=a;;By=b",
        'URI="a',
        'URI=a"',
        'URI=a"b"',
        'URI="a"b',
        'URI="a\\"',
        'Subject="a";URI="b\\\\\\"',
        'URI="a""b"',
        '"URI"=a',
        '"URI=a"',
        "URI=a=b",
        "URI=a b",
        "URI=a\\b",
        "URI=a;X-Extra=b",
        "Uri2=a",
        "URI=a;By=b;By=c",
        "Hash=" + HASH + ";hash=" + HASH,
        'Subject="a";subject="a"',
        "Hash=00ff",
        "Hash=" + HASH.upper(),
        "Hash=" + HASH + "0",
        "URI=a\n",
        "URI=a\r\nX: y",
        "URI=a\tb",
        "URI=\x00",
        'Subject="é"',
        "URI=a\x7f",
        '[{"uri":"spiffe://prod.example/x"}]',
        '{"uri":"spiffe://prod.example/x"}',
        '  [{"uri":"a"}]',
        "URI=a;{",
    ],
)
def test_what_is_not_the_grammar_is_refused(text):
    assert reason_of(text) is Reason.XFCC_MALFORMED


@pytest.mark.parametrize(
    "text",
    [
        "URI=spiffe://prod.example/low;URI=spiffe://prod.example/admin",
        "URI=spiffe://prod.example/low;uri=spiffe://prod.example/low",
        "URI=;URI=a",
    ],
)
def test_two_uris_in_one_element_are_refused_as_two_sans(text):
    assert reason_of(text) is Reason.CERTIFICATE_TWO_URI_SANS


@pytest.mark.parametrize("text", ["[]", "{}", ' [{"uri":"a"}]'])
def test_the_json_form_is_refused_by_name(text):
    with pytest.raises(Refusal, match="JSON"):
        parse(text)


def test_more_elements_than_allowed_are_refused():
    assert len(parse("URI=a,URI=b", max_elements=2)) == 2
    assert reason_of("URI=a,URI=b,URI=c", max_elements=2) is Reason.XFCC_TOO_MANY_HOPS


def test_the_number_of_elements_is_known_before_all_of_them_are_read():
    assert reason_of("URI=a,URI=b,!!!", max_elements=1) is Reason.XFCC_TOO_MANY_HOPS


def test_the_header_is_bounded_in_bytes_and_in_pairs():
    settings = XfccSettings(max_header_bytes=100, max_pairs=3)
    assert parse("URI=" + "a" * 96, settings=settings)
    assert reason_of("URI=" + "a" * 97, settings=settings) is Reason.XFCC_TOO_LARGE
    assert parse("DNS=a;DNS=b,DNS=c", settings=settings)
    assert reason_of("DNS=a;DNS=b,DNS=c;DNS=d", settings=settings) is Reason.XFCC_TOO_LARGE


@pytest.mark.parametrize(
    "text",
    ['Subject="' + "\\" * 30_000, 'Subject="' + '\\"' * 15_000, "=" * 30_000, " " * 30_000],
    ids=itertools.count(),
)
def test_hostile_text_is_refused_in_linear_time(text):
    assert reason_of(text) is Reason.XFCC_MALFORMED


def test_a_refusal_does_not_quote_the_header():
    with pytest.raises(Refusal) as caught:
        parse("URI=secret;secret")
    assert "secret" not in str(caught.value)
