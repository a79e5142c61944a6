"""The resource catalogue: which entry describes a request, and what is refused."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.decision.catalogue import EMPTY_CATALOGUE, Catalogue, CatalogueSettings, parse_catalogue
from authz.errors import ConfigError

SETTINGS = CatalogueSettings()
UNKNOWN = {"type": "", "id": "", "sensitivity": "", "environment": "", "cardholder_data": False, "labels": {}}


def catalogue(*entries: dict[str, object]) -> Catalogue:
    return parse_catalogue({"resources": list(entries)}, "catalogue.toml", SETTINGS)


def kinds(*entries: tuple[str, str, str]) -> Catalogue:
    """A catalogue of (host, path, type)."""
    return catalogue(*({"host": host, "path": path, "type": kind} for host, path, kind in entries))


def kind(found: Catalogue, host: str, path: str, method: str = "GET") -> object:
    return found.describe(host, path, method)["type"]


def test_an_entry_describes_all_that_it_says():
    found = catalogue(
        {
            "host": "accounts.demo.internal",
            "path": "/v1/accounts/{id}",
            "methods": ["GET", "PUT"],
            "type": "account",
            "sensitivity": "confidential",
            "environment": "prod",
            "cardholder_data": True,
            "labels": {"team": "ledger"},
        }
    )
    assert found.describe("accounts.demo.internal", "/v1/accounts/42", "PUT") == {
        "type": "account",
        "id": "42",
        "sensitivity": "confidential",
        "environment": "prod",
        "cardholder_data": True,
        "labels": {"team": "ledger"},
    }
    assert found.describe("accounts.demo.internal", "/v1/accounts/42", "DELETE") == UNKNOWN
    assert len(found) == 1


def test_what_no_entry_means_has_the_defaults():
    assert EMPTY_CATALOGUE.describe("a.example", "/x", "GET") == UNKNOWN
    assert kinds(("a.example", "/x", "x")).describe("b.example", "/x", "GET") == UNKNOWN


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("a.b.example", "exact"),
        ("c.b.example", "near"),
        ("d.c.b.example", "near"),
        ("b.example", "far"),
        ("example", "any"),
        ("xb.example", "far"),
        ("10.0.0.1", "any"),
        ("", "any"),
    ],
)
def test_the_host_counts_before_the_path(host, expected):
    found = kinds(
        ("*", "/v1/accounts/{id}", "any"),
        ("*.example", "/v1/accounts/*", "far"),
        ("*.b.example", "/v1/*", "near"),
        ("a.b.example", "/*", "exact"),
    )
    assert kind(found, host, "/v1/accounts/1") == expected


def test_a_nearer_host_whose_paths_do_not_match_leaves_it_to_the_next():
    found = kinds(("a.example", "/other", "other"), ("*.example", "/v1/*", "all"))
    assert kind(found, "a.example", "/v1/x") == "all"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/accounts/main/cards", "literal"),
        ("/v1/accounts/7/cards", "captured"),
        ("/v1/accounts/7/cards/9", "below"),
        ("/v1/accounts/7/other", "accounts"),
        ("/v1/accounts/7", "one"),
        ("/v1/accounts/", "accounts"),
        ("/v1/accounts", "accounts"),
        ("/v1/accounts/7/cards/", "captured"),
        ("/v1/accountsx", ""),
        ("/V1/accounts/7", ""),
        ("/v1", ""),
        ("/", "root"),
        ("//", ""),
        ("/v1//accounts", ""),
        ("/v1/accounts//cards", "accounts"),
    ],
)
def test_the_most_specific_path_wins(path, expected):
    entries = [
        ("*", "/", "root"),
        ("*", "/v1/accounts/*", "accounts"),
        ("*", "/v1/accounts/{id}", "one"),
        ("*", "/v1/accounts/:account/cards", "captured"),
        ("*", "/v1/accounts/{account}/cards/{id}", "below"),
        ("*", "/v1/accounts/main/cards", "literal"),
    ]
    assert kind(kinds(*entries), "h", path) == expected
    assert kind(kinds(*reversed(entries)), "h", path) == expected


def test_an_entry_that_lists_the_method_wins_over_one_that_lists_none():
    found = catalogue(
        {"host": "*", "path": "/a", "type": "any"},
        {"host": "*", "path": "/a", "methods": ["POST"], "type": "post"},
        {"host": "*", "path": "/a", "methods": ["PUT"], "type": "put"},
    )
    assert [kind(found, "h", "/a", method) for method in ("GET", "POST", "PUT")] == ["any", "post", "put"]


def test_the_literal_from_the_left_wins_among_equals():
    found = kinds(("*", "/a/{x}", "left"), ("*", "/{x}/b", "right"))
    assert kind(found, "h", "/a/b") == "left"


def test_more_literals_win_over_more_segments():
    found = kinds(("*", "/{x}/{y}/{z}", "long"), ("*", "/a/*", "literal"))
    assert kind(found, "h", "/a/b/c") == "literal"
    assert kind(found, "h", "/b/b/c") == "long"


def test_a_host_in_capitals_is_told_from_one_that_is_malformed():
    with pytest.raises(ConfigError, match="resource 1: a host is written in lower case"):
        kinds(("A.example", "/", "x"))


def test_connections_are_described_by_port_and_never_by_a_path_that_looks_alike():
    found = kinds(
        ("*", "tcp:5432", "database"), ("*", "tcp:*", "connection"), ("*", "/tcp:/5432", "path"), ("*", "/*", "web")
    )
    assert kind(found, "10.0.0.1", "tcp:5432", "connect") == "database"
    assert kind(found, "10.0.0.1", "tcp:5433", "connect") == "connection"
    assert kind(found, "10.0.0.1", "/tcp:5432") == "web"
    assert kind(found, "10.0.0.1", "/tcp:/5432") == "path"


def test_the_id_is_the_segment_that_is_called_id():
    found = kinds(("*", "/a/{account}/b/{id}/c", "x"), ("*", "/d/{name}", "y"))
    assert found.describe("h", "/a/1/b/2/c", "GET")["id"] == "2"
    assert found.describe("h", "/d/1", "GET")["id"] == ""


def test_two_requests_do_not_see_each_others_id():
    found = kinds(("*", "/a/{id}", "x"))
    first = found.describe("h", "/a/1", "GET")
    assert found.describe("h", "/a/2", "GET")["id"] == "2"
    assert first["id"] == "1"


BROKEN = [
    ({"resource": []}, "unknown table 'resource'; did you mean 'resources'?"),
    ({}, "an array of tables [[resources]] is needed"),
    ({"resources": {}}, "an array of tables [[resources]] is needed"),
    ({"resources": ["x"]}, "resource 1: a table is needed"),
    ({"resources": [{"host": "*"}]}, "resource 1: Object missing required field `path`"),
    ({"resources": [{"path": "/"}]}, "resource 1: Object missing required field `host`"),
    (
        {"resources": [{"host": "*", "path": "/", "sensitvity": "x"}]},
        "unknown field 'sensitvity'; did you mean 'sensitivity'?",
    ),
    (
        {"resources": [{"host": "*", "path": "/", "cardholder_data": "yes"}]},
        "cardholder_data: Expected `bool`, got `str`",
    ),
    (
        {"resources": [{"host": "*", "path": "/", "sensitivity": "Public"}]},
        "sensitivity: a word of lower-case letters, digits, dots, hyphens and underscores is wanted",
    ),
    ({"resources": [{"host": "*", "path": "/", "type": "x\n"}]}, "type: a word of lower-case letters"),
    (
        {"resources": [{"host": "*", "path": "/", "methods": ["get"]}]},
        "methods[0]: a method is written in capitals, such as GET; of connections it is connect",
    ),
    ({"resources": [{"host": "*", "path": "/", "methods": "GET"}]}, "methods: Expected `array`, got `str`"),
    ({"resources": [{"host": "*", "path": "/", "labels": {"a": 1}}]}, "labels[...]: Expected `str`, got `int`"),
    (
        {"resources": [{"host": "*", "path": "/"}, {"host": "*", "path": "/"}]},
        "resource 2: means the same requests as catalogue.toml: resource 1",
    ),
]


@pytest.mark.parametrize(("document", "problem"), BROKEN, ids=lambda each: each if isinstance(each, str) else "")
def test_a_broken_catalogue_is_refused_with_entry_and_field(document, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)) as refused:
        parse_catalogue(document, "catalogue.toml", SETTINGS)
    assert str(refused.value).startswith("catalogue.toml: ")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("/a/{x}", ()), ("/a/:y", ())),
        (("/a/*", ()), ("/a/*", ())),
        (("/a", ()), ("/a/", ())),
        (("/a", ("GET", "PUT")), ("/a", ("PUT",))),
    ],
)
def test_two_entries_for_the_same_requests_are_refused(first, second):
    with pytest.raises(ConfigError, match="resource 2: means the same requests as"):
        catalogue(*({"host": "*", "path": path, "methods": methods, "type": "x"} for path, methods in (first, second)))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "A.example",
        "a.example:80",
        "a..b",
        "a.*",
        "*a.example",
        "*.",
        "**",
        "a b",
        "-a.example",
        "http://a",
        "a.example.",
        "a\n",
        "*.*",
    ],
)
def test_a_host_that_no_request_can_have_is_refused(host):
    with pytest.raises(ConfigError, match=r"resource 1: (a host is written|not a host name)"):
        kinds((host, "/", "x"))


@pytest.mark.parametrize(
    "host", ["a", "a.example", "*.example", "a_b.example", "xn--a.example", "10.0.0.1", "[::1]", "fe80::1", "*"]
)
def test_a_host_that_a_request_can_have_is_taken(host):
    assert kind(kinds((host, "/x", "x")), host.replace("*", "h"), "/x") == "x"


@pytest.mark.parametrize(
    "path",
    [
        *[
            "",
            "a",
            "a/b",
            "//",
            "/a//b",
            "/a/*/b",
            "/a*",
            "/a/**",
            "/./a",
            "/a/..",
            "/a b",
            "/a?x",
            "/a#x",
            "/a;x",
            "/a\\b",
        ],
        *[
            "/a%2f",
            "/a%2",
            "/%61",
            "/a%7E",
            "/{a",
            "/a{b}",
            "/{a}{b}",
            "/{}",
            "/{a-b}",
            "/{id}/{id}",
            "/:x/{x}",
            "/é",
            "/a\n",
        ],
        *["tcp:", "tcp:x", "tcp:1/2", "tcp:123456", "TCP:1", "/" + "a/" * 33],
    ],
)
def test_a_path_that_no_request_can_have_is_refused(path):
    with pytest.raises(ConfigError, match="resource 1: "):
        kinds(("*", path, "x"))


@pytest.mark.parametrize("path", ["/a%2Fb", "/a%25", "/a.b-c_d~e", "/@a:b", "/a!$&'()+,=", "/%C3%A9", "/a/", "/..."])
def test_a_path_that_a_request_can_have_is_taken(path):
    assert kind(kinds(("*", path, "x")), "h", path) == "x"


def test_the_number_of_entries_is_limited():
    entries = [{"host": "*", "path": f"/{number}"} for number in range(3)]
    with pytest.raises(ConfigError, match=r"more than max_resources \(2\)"):
        parse_catalogue({"resources": entries}, "f", CatalogueSettings(max_resources=2))


HOSTS = ("*", "*.b", "*.a.b", "a.b", "x.a.b")
SEGMENTS = st.sampled_from(["a", "b", "{x}"])
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(HOSTS), st.lists(SEGMENTS, max_size=3), st.booleans(), st.sampled_from([(), ("GET",), ("PUT",)])
    ),
    max_size=8,
    unique_by=lambda entry: (entry[0], tuple(entry[1]), entry[2], entry[3]),
)


def named(segments: list[str]) -> list[str]:
    """Each capture with a name of its own."""
    return [segment.replace("x", f"x{at}") for at, segment in enumerate(segments)]


def means(entry, host: str, segments: list[str], method: str) -> bool:
    """Whether an entry matches, by the words of the module's documentation."""
    wanted_host, wanted, open_ended, methods = entry
    if wanted_host not in ("*", host) and not (wanted_host.startswith("*.") and host.endswith(wanted_host[1:])):
        return False
    if methods and method not in methods:
        return False
    if len(segments) < len(wanted) or (len(segments) > len(wanted) and not open_ended):
        return False
    return all(want in ("{x}", have) for want, have in zip(wanted, segments, strict=False))


def order(entry) -> tuple[object, ...]:
    host, wanted, open_ended, methods = entry
    return (
        host.startswith("*"),
        -len(host),
        -sum(segment != "{x}" for segment in wanted),
        -len(wanted),
        open_ended,
        [segment == "{x}" for segment in wanted],
        not methods,
    )


@given(
    ENTRIES,
    st.sampled_from(["a.b", "x.a.b", "y.a.b", "c.b", "z"]),
    st.lists(st.sampled_from("abc"), max_size=4),
    st.sampled_from(["GET", "PUT"]),
)
def test_the_index_finds_what_a_search_through_all_entries_finds(entries, host, segments, method):
    # An empty path with nothing below it is "/", which its segments would call one empty segment.
    entries = [entry for entry in entries if entry[1] or entry[2]]
    tables = [
        {
            "host": each[0],
            "path": "/" + "/".join([*named(each[1]), *["*"] * each[2]]),
            "methods": each[3],
            "type": string.ascii_lowercase[number],
        }
        for number, each in enumerate(entries)
    ]
    found = catalogue(*tables).describe(host, "/" + "/".join(segments), method)["type"]
    best = min((each for each in entries if means(each, host, segments, method)), key=order, default=None)
    assert found == (string.ascii_lowercase[entries.index(best)] if best else "")
