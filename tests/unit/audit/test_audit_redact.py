"""What is masked, cut and escaped, and what is left as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.audit.redact import CUT, MASK, masked, masked_path, name_is_secret, plain

# Test numbers that card schemes and payment services publish.
CARD_NUMBERS = [
    "4111111111111111",
    "4222222222222",
    "5500000000000004",
    "2223003122003222",
    "378282246310005",
    "30569309025904",
    "6011111111111117",
    "3530111333300000",
    "6759649826438453",
    "6304000000000000000",
]
NOT_CARD_NUMBERS = [
    "4111111111111112",  # Luhn does not hold
    "411111111111",  # too short
    "1760000000000123",  # a time in microseconds
    "2024-11-24",
    "10.0.0.1 10.0.0.2",
    "9e8d1f6e-2f50-4c8b-9fb2-8b7b6fd9e111",
    "ab" * 32,
]
JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJzcGlmZmU6Ly94L3kifQ.c2lnbmF0dXJlLWJ5dGVz"
SECRETS = [
    JWT,
    JWT.rpartition(".")[0],
    JWT.partition(".")[0],
    "Bearer s3cr3tvalue",
    "bearer:s3cr3tvalue",
    "Basic dXNlcjpzM2NyM3R2YWx1ZQ==",
    "DPoP s3cr3tvalue",
    "ghp_s3cr3tvalueabcdef",
    "sk-s3cr3tvalueabcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "xoxb-1234-s3cr3tvalue",
    "password=s3cr3tvalue",
    "access_token=s3cr3tvalue",
    "X-Amz-Signature=s3cr3tvalue",
    "api_key=s3cr3tvalue",
    "jsessionid=s3cr3tvalue",
    "https://user:s3cr3tvalue@host/x",
    "-----BEGIN PRIVATE KEY-----\nMIIs3cr3tvalue\n-----END PRIVATE KEY-----",
]
SECRET_PARTS = ["s3cr3tvalue", "IOSFODNN7", "hbGciOiJFUzI1NiIs", "dXNlcjp", "zdWIiOiJ", "c2lnbmF0"]


@pytest.mark.parametrize("number", CARD_NUMBERS)
@pytest.mark.parametrize("shape", ["/cards/{}/charge", "{}", "n={} for", "a{}b", "1-{}-2", "{} 12 25"])
def test_card_numbers_are_masked_wherever_they_stand(number, shape):
    shown = masked(shape.format(number), 1024)
    assert number not in shown
    assert MASK in shown


@pytest.mark.parametrize("separator", [" ", "-", "_", "+", ""])
def test_card_numbers_in_groups_are_masked(separator):
    number = separator.join(["4111", "1111", "1111", "1111"])
    assert masked(f"/x/{number}/y", 1024) == f"/x/{MASK}/y"


@pytest.mark.parametrize("path", ["/x/4111%2D1111%2D1111%2D1111", "/x/%34111111111111111", "/x/%2534111111111111111"])
def test_a_card_number_behind_percent_encoding_masks_its_whole_segment(path):
    assert masked_path(path, 1024) == f"/x/{MASK}"


def test_a_long_run_of_digits_that_could_hold_a_card_number_is_masked_whole():
    assert masked("x" + "7" * 12 + "4111111111111111" + "7" * 5, 1024) == f"x{MASK}"


@pytest.mark.parametrize("text", NOT_CARD_NUMBERS)
def test_other_numbers_are_left_alone(text):
    assert masked(f"/v1/{text}/items", 1024) == f"/v1/{text}/items"


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("shape", ["{}", "/x/{}", "before {} after", "a,{};b"])
def test_tokens_and_passwords_are_masked_wherever_they_stand(secret, shape):
    shown = masked(shape.format(secret), 1024)
    assert MASK in shown
    assert not [part for part in SECRET_PARTS if part in shown]


@pytest.mark.parametrize(
    "path", [f"/reset/{JWT}/now", f"/x/%65yJ{JWT[3:]}", "/x;token=s3cr3tvalue", "/x/Bearer%20s3cr3tvalue"]
)
def test_tokens_in_paths_are_masked(path):
    shown = masked_path(path, 1024)
    assert not [part for part in SECRET_PARTS if part in shown]
    assert shown.startswith("/")


@pytest.mark.parametrize("path", ["/v1/a%20b/c%C3%A9", "/v1/%2e%2e/x", "/", "", "/a%", "/a%zz"])
def test_harmless_paths_are_left_as_they_are(path):
    assert masked_path(path, 1024) == path


@pytest.mark.parametrize("cut", range(1024 - 20, 1024 + 20))
@pytest.mark.parametrize(
    "number", ["4111111111111111", "4111-1111-1111-1111", "%34%31%31%31%31%31%31%31%31%31%31%31%31%31%31%31"]
)
def test_a_card_number_at_the_place_of_the_cut_does_not_show_in_part(cut, number):
    path = "/" + "x" * (cut - 2) + "/" + number + "/" + "y" * 100
    shown = masked_path(path, 1024)
    assert "4111" not in shown
    assert "%34" not in shown
    assert shown.endswith(CUT)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\u000ab"),
        ("a\r\n{}", "a\\u000d\\u000a{}"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\x1b[31m", "\\u001b[31m"),
        ("\x85\x7f\x00", "\\u0085\\u007f\\u0000"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ('é "quoted" \\', 'é "quoted" \\'),
    ],
)
def test_what_could_end_reorder_or_hide_a_line_is_written_as_an_escape(text, shown):
    assert plain(text, 100) == shown
    assert masked(text, 100) == shown


def test_long_text_is_cut_and_says_so():
    assert plain("abcdef", 3) == "abc" + CUT
    assert plain("abc", 3) == "abc"
    assert masked("abcdef", 3) == "abc" + CUT
    assert plain("\n\n", 6) == "\\u000a" + CUT


@given(st.text(), st.integers(1, 50))
def test_whatever_the_text_it_comes_out_bounded_encodable_and_in_one_line(text, size):
    for shown in (plain(text, size), masked(text, size), masked_path(text, size)):
        assert len(shown) <= size + len(CUT)
        shown.encode()
        assert len(shown.splitlines()) <= 1


@given(
    st.text(alphabet="0123456789-_ +a/%4", max_size=60),
    st.sampled_from(CARD_NUMBERS),
    st.text(alphabet="ab/.", max_size=5),
)
def test_a_card_number_between_other_text_never_shows(before, number, after):
    assert number not in masked(f"{before}/{number}{after}", 1024)


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "x-api-key",
        "x-apikey",
        "X_Auth_Token",
        "accesstoken",
        "accessToken",
        "sessionId",
        "client_secret",
        "x-amz-security-token",
        "x-goog-iap-jwt-assertion",
        "x-forwarded-client-cert",
        "sec-websocket-protocol",
        "x-password",
        "sig",
        "code",
        "key",
        " authorization ",
    ],
)
def test_names_of_credentials_are_known(name):
    assert name_is_secret(name)


@pytest.mark.parametrize(
    "name", ["user-agent", "x-request-id", "traceparent", "x-team", ":authority", "accept-encoding", "page"]
)
def test_other_names_are_not_taken_for_credentials(name):
    assert not name_is_secret(name)
