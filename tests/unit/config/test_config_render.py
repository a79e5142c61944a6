"""The effective configuration is shown whole, but for secrets, and can be loaded again."""

import tomllib
from typing import Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.config.text import is_secret, key_text, literal, render, without_secrets

FIRST = """\
name = "authz"
issuers = []
domains = {}
labels = {}
weights = {}
colour = "red"
matrix = []

[server]
listen = "127.0.0.1:9000"
max_streams = 100
timeout_seconds = 0.2
transport = "h2corn"
eager = false
# tls is not set
# retries is not set
"""


def test_every_effective_value_is_shown(config_type):
    assert render(config_type()) == FIRST


def test_with_docs_each_setting_stands_under_its_meaning(types, read):
    config = types["Config"](server=types["Server"](tls=types["Tls"](certificate_file="c")))
    text = render(config, docs=True)
    assert "# What this server calls itself.\nname =" in text
    assert "# Where requests come in.\n# A second paragraph.\n[server]" in text
    assert "# The chain, PEM.\ncertificate_file" in text
    assert read(text) == config


def test_secrets_are_masked(types):
    issuer = types["Issuer"](url="https://user:canary@x/?token=canary", client_secret="canary", pin="canary")
    text = render(types["Config"](issuers=(issuer,), labels={"password": "canary", "team": "blue"}))
    assert "canary" not in text
    assert 'client_secret = "[masked]"' in text
    assert 'pin = "[masked]"' in text
    assert 'url = "https://[masked]@x/?token=[masked]"' in text
    assert 'team = "blue"' in text


def test_an_unset_secret_is_shown_as_unset(types):
    assert 'client_secret = ""' in render(types["Config"](issuers=(types["Issuer"](url="https:"),)))


@pytest.mark.parametrize(
    "name", ["password", "db_password", "client_secret", "token", "api_key", "private_key", "secrets"]
)
def test_secrets_are_known_by_name(name):
    assert is_secret(name, str)


@pytest.mark.parametrize("name", ["key_file", "token_file", "max_token_bytes", "public_key", "listen", "tokenizer"])
def test_settings_about_secrets_are_none(name):
    assert not is_secret(name, str)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@h/db", "postgresql://[masked]@h/db"),
        ("redis://:p@h", "redis://[masked]@h"),
        ("https://h/?a=1&api_key=x&b=2", "https://h/?a=1&api_key=[masked]&b=2"),
        ("-----BEGIN EC PRIVATE KEY-----\nabc", "[masked]"),
        ("https://h:80/x", "https://h:80/x"),
    ],
)
def test_secrets_are_known_by_their_form(text, shown):
    assert without_secrets(text) == shown


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a", "b_c", "d-e"), "a.b_c.d-e"),
        (("a", 0, "b"), "a[0].b"),
        (("a.b", "c d", ""), '"a.b"."c d".""'),
        (("a\nb\u2028",), '"a\\nb\\u2028"'),
    ],
)
def test_keys_are_written_so_that_they_can_be_told_apart(path, text):
    assert key_text(path) == text


values = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates() | st.datetimes() | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(values)
def test_every_value_written_is_toml_that_means_the_same(value):
    def shown(part):
        """What masking by name or form leaves alone."""
        return without_secrets(part) if isinstance(part, str) else part

    if isinstance(value, str):
        value = shown(value)
    assert tomllib.loads(f"x = {literal(value)}")["x"] == value


texts = st.text(max_size=10)
names = st.text("abc.é \n\"'", min_size=1, max_size=6)


@pytest.fixture
def configs(types):
    tls = st.builds(
        types["Tls"],
        certificate_file=texts,
        key_file=st.text(min_size=1, max_size=5),
        client_names=st.lists(texts, max_size=2).map(tuple),
    )
    servers = st.builds(
        types["Server"],
        listen=texts,
        max_streams=st.integers(1, 1000),
        timeout_seconds=st.floats(0.001, 1e9),
        transport=st.sampled_from(["h2corn", "aio"]),
        tls=st.none() | tls,
        retries=st.none() | st.integers(-(2**40), 2**40),
    )
    issuers = st.builds(
        types["Issuer"], url=texts.map("https:".__add__), audiences=st.lists(texts, max_size=2).map(tuple)
    )
    return st.builds(
        types["Config"],
        name=texts,
        server=servers,
        issuers=st.lists(issuers, max_size=3).map(tuple),
        domains=st.dictionaries(names, tls, max_size=2),
        labels=st.dictionaries(names, texts, max_size=3),
        weights=st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
        colour=st.sampled_from(types["Colour"]),
        matrix=st.lists(st.lists(st.integers(-9, 9), max_size=2).map(tuple), max_size=2).map(tuple),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.booleans())
def test_what_is_shown_loads_as_the_same_configuration(read, configs, data, docs):
    config = data.draw(configs)
    assert read(render(config, docs=docs)) == config


def test_a_choice_of_words_is_no_secret_whatever_its_name() -> None:
    class Tokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        unknown_tokens: Literal["ignore", "deny"] = "ignore"

    assert render(Tokens()) == 'unknown_tokens = "ignore"\n'
