"""A configuration is read strictly: all of it is understood, or all that is wrong is told."""

from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from authz.config.file import MAX_FILE_BYTES, load
from authz.config.text import literal
from authz.errors import ConfigError

KEYS = ["name", "server", "issuers", "domains", "labels", "weights", "colour", "matrix"]
FULL = """
name = "edge"
colour = "blue"
matrix = [[1, 2], []]

[server]
listen = "unix:/run/authz.sock"
max_streams = 7
timeout_seconds = 1
transport = "aio"
tls = { certificate_file = "/c.pem", client_names = ["a", "b"] }

[[issuers]]
url = "https://one"

[[issuers]]
url = "https://two"
audiences = ["x"]

[domains."prod.example"]
certificate_file = "/d.pem"

[labels]
team = "blue"
"""


def test_without_a_file_the_defaults_hold(config_type):
    assert load(None, config_type, {}) == config_type()


def test_an_empty_file_gives_the_defaults(read, config_type):
    assert read("") == config_type()


def test_every_sort_of_setting_is_read(read, types):
    assert read(FULL) == types["Config"](
        name="edge",
        colour=types["Colour"].BLUE,
        matrix=((1, 2), ()),
        server=types["Server"](
            listen="unix:/run/authz.sock",
            max_streams=7,
            timeout_seconds=1.0,
            transport="aio",
            tls=types["Tls"](certificate_file="/c.pem", client_names=("a", "b")),
        ),
        issuers=(types["Issuer"](url="https://one"), types["Issuer"](url="https://two", audiences=("x",))),
        domains={"prod.example": types["Tls"](certificate_file="/d.pem")},
        labels={"team": "blue"},
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nam = 'x'", 'authz.toml:1: nam: unknown key; did you mean "name"?'),
        ("\n[server]\n\nlisten = 'x'\nlistn = 'x'", 'authz.toml:5: server.listn: unknown key; did you mean "listen"?'),
        ("[servre]\nlisten = 'x'", 'authz.toml:1: servre: unknown key; did you mean "server"?'),
        (
            "zzz = 1",
            "authz.toml:1: zzz: unknown key; the keys here are " + ", ".join(KEYS),
        ),
        ("server.listen = 80", "authz.toml:1: server.listen: expected `str`, got `int`; given 80"),
        ("[server]\nmax_streams = '7'", 'authz.toml:2: server.max_streams: expected `int`, got `str`; given "7"'),
        ("[server]\nmax_streams = true", "authz.toml:2: server.max_streams: expected `int`, got `bool`; given true"),
        ("[server]\nmax_streams = 0", "authz.toml:2: server.max_streams: expected `int` >= 1; given 0"),
        (
            "[server]\ntimeout_seconds = inf",
            "authz.toml:2: server.timeout_seconds: expected a finite number; given inf",
        ),
        ("[weights]\na = nan", "authz.toml:2: weights.a: expected a finite number; given nan"),
        ("[weights]\na = inf", "authz.toml:2: weights.a: expected a finite number; given inf"),
        (
            "[server]\ntransport = 'h2con'",
            'authz.toml:2: server.transport: expected one of "h2corn", "aio"; given "h2con"; did you mean "h2corn"?',
        ),
        ("colour = 'green'", 'authz.toml:1: colour: expected one of "red", "blue"; given "green"'),
        ("colour = 1", 'authz.toml:1: colour: expected one of "red", "blue"; given 1'),
        ("server = 1", "authz.toml:1: server: expected a table; given 1"),
        ("server = []", "authz.toml:1: server: expected a table; given an array"),
        ("name = {}", "authz.toml:1: name: expected `str`, got `table`; given a table"),
        ("name = 2024-01-02", "authz.toml:1: name: expected `str`, got `date`; given 2024-01-02"),
        ("[server.tls]", "authz.toml:1: server.tls.certificate_file: missing; it has no default"),
        ("[[issuers]]\nurl='https:'\n[[issuers]]", "authz.toml:3: issuers[1].url: missing; it has no default"),
        ("[[issuers]]\nurl='http:'", "authz.toml:2: issuers[0].url: must be https"),
        (
            "[[issuers]]\nurl='https:'\naudiences=['a','b','c']",
            "authz.toml:3: issuers[0].audiences: expected `array` of length <= 2; given an array",
        ),
        (
            "issuers = [{url='https:'}, {url='https:'}, {url='https:'}, {url='https:'}]",
            "authz.toml:1: issuers: expected `array` of length <= 3",
        ),
        ("issuers = {}", "authz.toml:1: issuers: expected `array`, got `table`; given a table"),
        ("matrix = [[1], ['x']]", "authz.toml:1: matrix[1][0]: expected `int`, got `str`"),
        (
            "[domains.a]\ncertificate_file = 1",
            "authz.toml:2: domains.a.certificate_file: expected `str`, got `int`; given 1",
        ),
        ("[server]\neager = true\ntransport = 'aio'", "authz.toml:2: server.eager: not with aio"),
        (
            "[server.tls]\ncertificate_file = 'x'\nkey_file = ''",
            "authz.toml:3: server.tls.key_file: must not be empty",
        ),
        ("name = ", "authz.toml: not TOML: Invalid value (at end of document)"),
        ("name = \n", "authz.toml:1: not TOML: Invalid value (column 8)"),
        ("name = 'a'\nname = 'b'\n", "authz.toml:2: not TOML: Cannot overwrite a value (column 11)"),
        (b"name = 'a'\n# \xff", "authz.toml:2: not UTF-8"),
        (
            f"server.max_streams = 0x{'f' * 4000}",
            "authz.toml:1: server.max_streams: expected `int` <= 1000; given a very large integer",
        ),
    ],
)
def test_each_fault_is_told_with_its_place_key_and_remedy(faults, text, told):
    assert faults(text) == [told]


def test_all_faults_are_told_at_once_in_the_order_of_the_file(faults):
    text = "nam = 1\n[server]\nmax_streams = 0\nlistn = 1\n[[issuers]]\nurl = 'http:'\nclient_secrets = 'x'\n"
    assert [line.partition(": ")[0] for line in faults(text)] == [f"authz.toml:{n}" for n in (1, 3, 4, 6, 7)]


def test_semantic_faults_of_one_section_are_told_with_type_faults_of_another(faults):
    told = faults("[server]\nmax_streams = 0\n[[issuers]]\nurl = 'http:'")
    assert [line.split(": ")[1] for line in told] == ["server.max_streams", "issuers[0].url"]


def test_a_flood_of_faults_is_cut(faults):
    told = faults("\n".join(f"key{n} = 1" for n in range(250)))
    assert len(told) == 101
    assert told[-1] == "... and 150 more"


def test_a_key_cannot_forge_a_line_of_the_message(faults):
    told = faults('"a\\nauthz.toml:1: all is well\\u2028" = 1')
    assert len(told) == 1
    assert "\\n" in told[0]


def test_a_long_value_or_key_is_not_told_whole(faults):
    assert len(faults(f"colour = '{'x' * 10_000}'")[0]) < 200
    assert len(faults(f"{'k' * 10_000} = 1")[0]) < 600


@pytest.mark.parametrize(
    "text", ["[[issuers]]\nurl='https:'\nclient_secret = 12345678", "[[issuers]]\nurl='https:'\npin = 12345678"]
)
def test_a_secret_of_the_wrong_type_is_not_told(faults, text):
    (line,) = faults(text)
    assert "12345678" not in line
    assert "given a value that is not shown" in line


def test_a_file_that_cannot_be_read_says_why(config_type, tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read: No such file"):
        load(tmp_path / "absent.toml", config_type, {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, config_type, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(Path("a\0b"), config_type, {})


def test_a_file_above_the_limit_is_refused_unparsed(read):
    assert read("#" * MAX_FILE_BYTES)
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        read("#" * (MAX_FILE_BYTES + 1))


def test_a_choice_of_numbers_takes_no_flag(tmp_path):
    class Choice(msgspec.Struct, frozen=True):
        level: Literal[1, 2] = 2

    path = tmp_path / "x.toml"
    path.write_text("level = true")
    with pytest.raises(ConfigError, match="level: expected one of 1, 2; given true"):
        load(path, Choice, {})


def test_an_error_in_a_constructor_is_told_like_any_other(tmp_path):
    class Picky(msgspec.Struct, frozen=True):
        size: int = 0

        def __post_init__(self):
            if self.size:
                raise ValueError("size must be 0")

    path = tmp_path / "x.toml"
    path.write_text("size = 3")
    with pytest.raises(ConfigError, match="size must be 0"):
        load(path, Picky, {})


PIECES = r'''name server issuers labels matrix tls url listen max_streams . = [ ] [[ ]] { } , " ' """ 1 -0x1 1e400 nan
inf true 2024-01-01 # \ \u0000 é "x" 10:00:00 1979-05-27T07:32:00Z'''
toml_pieces = st.sampled_from([*PIECES.split(), "\n", " ", "[server]\n", "name = ", "\r\n", "\x00"])


def outcome_of(read, text):
    """The configuration, or what the error says."""
    try:
        return read(text)
    except ConfigError as error:
        return str(error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(toml_pieces, max_size=30).map("".join) | st.text() | st.binary())
@example("matrix = " + "[" * 5000)
@example("a" + ".a" * 2_000 + " = 1")
@example("labels" + ".a" * 2_000 + " = 1")
@example("matrix = [" + "1" * 5000 + "]")
@example("name = 0x" + "f" * 5000)
@example("[a]\n" * 2)
@example("\ufeffname = 'x'")
def test_any_text_gives_a_configuration_or_a_config_error(read, config_type, text):
    outcome = outcome_of(read, text)
    assert isinstance(outcome, config_type) or 0 < len(outcome) < 100_000


literals = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text("abc:/ \n\"'", max_size=8) | st.sampled_from(["aio", "blue"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "listen", "a"]), inner, max_size=2)
    ),
    max_leaves=5,
)
keys = [*KEYS, "listen", "max_streams", "tls"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(keys), literals | st.dictionaries(st.sampled_from(keys), literals), max_size=4))
def test_any_values_under_any_keys_give_a_configuration_or_a_config_error(read, config_type, tree):
    text = "\n".join(f"{key} = {literal(value)}" for key, value in tree.items())
    outcome = outcome_of(read, text)
    assert isinstance(outcome, config_type) or "not TOML" not in outcome
