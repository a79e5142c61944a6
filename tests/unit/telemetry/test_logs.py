"""Logs are one line each, structured, and hold no secret (I10)."""

import io
import json
import logging
import warnings

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from authz.telemetry.logs import MASK, LogSettings, Redactor, configure_logging, resolve_format

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.fixture
def stream():
    """Restore what logging was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream):
    configure_logging(LogSettings(), stream)
    structlog.get_logger("x").info("listening", addresses=("127.0.0.1:1",), tls=False, text="a\nb")
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "listening",
        "level": "info",
        "addresses": ["127.0.0.1:1"],
        "tls": False,
        "text": "a\nb",
    }


def test_less_than_the_level_is_not_written(stream):
    configure_logging(LogSettings(level="warning"), stream)
    structlog.get_logger().info("no")
    logging.getLogger("grpc").info("no")
    structlog.get_logger().warning("yes")
    logging.getLogger("grpc").warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes", "yes"]


def test_the_standard_librarys_loggers_go_the_same_way(stream):
    configure_logging(LogSettings(), stream)
    logging.getLogger("grpc._cython").error("handshake of %s failed", "peer")
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("handshake of peer failed", "grpc._cython", "error")


def test_warnings_become_lines(stream):
    configure_logging(LogSettings(), stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "old" in str(lines(stream)[0]["event"])


def test_configuring_again_replaces_the_first(stream):
    configure_logging(LogSettings(), stream)
    second = io.StringIO()
    configure_logging(LogSettings(), second)
    logging.getLogger("x").error("once")
    structlog.get_logger().error("once")
    assert stream.getvalue() == ""
    assert len(lines(second)) == 2


@pytest.mark.parametrize(
    ("form", "where", "expected"),
    [
        ("auto", io.StringIO, "json"),
        ("auto", Terminal, "console"),
        ("json", Terminal, "json"),
        ("console", io.StringIO, "console"),
    ],
)
def test_people_get_text_and_machines_json(form, where, expected):
    assert resolve_format(LogSettings(format=form), where()) == expected


def fail_with(text: str, secret: str) -> None:
    """Log an exception from a frame that holds a secret."""

    def fail() -> None:
        raise ValueError(text)

    held = secret + "!"
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("lib").exception("failed")
    assert held


def test_the_console_shows_no_local_variables(stream):
    terminal = Terminal()
    configure_logging(LogSettings(), terminal)
    fail_with("boom", "s3cr3t-value")
    assert "boom" in terminal.getvalue()
    assert "s3cr3t-value" not in terminal.getvalue()


SECRET_FIELDS = [
    "authorization", "Authorization", "cookie", "Set-Cookie", "set_cookie", "token", "access_token", "id-token",
    "refresh_token", "client_secret", "password", "db_password", "api_key", "x-api-key", "private_key", "key", "jwt",
    "x-forwarded-client-cert", "xfcc", "certificate", "body", "raw_body", "headers", "signature", "proxy-authorization",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_FIELDS)
def test_a_field_that_is_named_like_a_secret_is_removed_at_any_depth(stream, name):
    configure_logging(LogSettings(), stream)
    structlog.get_logger().error("x", **{name: "hunter2"}, nested={"a": [{name: {"b": "hunter2"}}]})
    assert "hunter2" not in stream.getvalue()
    assert stream.getvalue().count(MASK) == 2


@pytest.mark.parametrize(
    "text",
    [
        JWT,
        f"token {JWT} was refused",
        JWT.rpartition(".")[0],
        "Authorization: Bearer abcdef0123456789",
        "bearer  abcdef0123456789",
        "Basic dXNlcjpodW50ZXIy",
        "-----BEGIN EC PRIVATE KEY-----\nabcdef0123456789\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nabcdef0123456789",
    ],
)
def test_text_that_looks_like_a_secret_is_removed_wherever_it_stands(stream, text):
    configure_logging(LogSettings(), stream)
    log = structlog.get_logger()
    log.error(text, detail=text, many=[text, {"x": (text,)}])
    logging.getLogger("lib").error("lib says %s", text)
    fail_with(text, "")
    written = stream.getvalue()
    for secret in (JWT.split(".")[1], "abcdef0123456789", "dXNlcjpodW50ZXIy"):
        assert secret not in written


def test_what_is_no_secret_is_kept(stream):
    configure_logging(LogSettings(), stream)
    fields = {
        "spiffe_id": "spiffe://prod.example/ns/a/sa/b",
        "fingerprint": "ab" * 32,
        "path": "/v1/items",
        "policy_version": "eyJ",
        "count": 3,
        "ratio": 0.5,
        "none": None,
        "token_count_is_fine": 1,
    }
    structlog.get_logger().info("kept", **fields)
    (line,) = lines(stream)
    assert {name: line[name] for name in fields} == fields


def test_bytes_are_told_by_their_length_and_long_text_is_cut(stream):
    configure_logging(LogSettings(max_value_characters=64), stream)
    structlog.get_logger().info("x", raw=b"hunter2", text="a" * 1000)
    (line,) = lines(stream)
    assert line["raw"] == "[7 bytes]"
    assert line["text"] == "a" * 64 + "..."


def test_deep_or_strange_values_are_bounded(stream):
    configure_logging(LogSettings(), stream)
    deep: object = "bottom"
    for _ in range(50):
        deep = {"a": deep}
    structlog.get_logger().info("x", deep=deep, strange=object(), error=ValueError(JWT))
    assert "bottom" not in stream.getvalue()
    assert JWT not in stream.getvalue()
    assert len(lines(stream)) == 1


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=10), VALUES, max_size=5), st.text(max_size=10), st.text(max_size=10))
def test_a_token_never_passes_whatever_is_around_it(event, before, after):
    cleaned = Redactor(4096)(None, "info", {**event, "planted": [before + JWT + after], "token": JWT})
    assert JWT.split(".")[1] not in json.dumps(cleaned, default=str)
