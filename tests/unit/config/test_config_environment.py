"""Variables override the file, key by key, and are held to the same rules."""

import pytest

from authz.config.file import load

NO_NAME = "no setting has this name: AUTHZ__, then the key's parts in capitals, joined by __"


def test_a_variable_overrides_the_file(read):
    config = read("name = 'file'\n[server]\nmax_streams = 5", AUTHZ__SERVER__MAX_STREAMS="7", AUTHZ__NAME="variable")
    assert (config.name, config.server.max_streams) == ("variable", 7)


def test_variables_work_without_a_file(config_type):
    assert load(None, config_type, {"AUTHZ__SERVER__LISTEN": "x:1"}).server.listen == "x:1"


@pytest.mark.parametrize(
    ("variable", "text", "read_as"),
    [
        ("AUTHZ__NAME", "plain", "plain"),
        ("AUTHZ__NAME", "", ""),
        ("AUTHZ__NAME", "7", "7"),
        ("AUTHZ__NAME", "true", "true"),
        ("AUTHZ__NAME", "1.5", "1.5"),
        ("AUTHZ__NAME", '"quoted"', "quoted"),
        ("AUTHZ__NAME", "[1]", "[1]"),
        ("AUTHZ__NAME", "a\nb = 1", "a\nb = 1"),
        ("AUTHZ__NAME", '"a"\nother = 1', '"a"\nother = 1'),
        ("AUTHZ__NAME", "2024-01-01", "2024-01-01"),
        ("AUTHZ__COLOUR", "blue", "blue"),
        ("AUTHZ__SERVER__EAGER", "true", True),
        ("AUTHZ__SERVER__TIMEOUT_SECONDS", "1", 1.0),
        ("AUTHZ__SERVER__TIMEOUT_SECONDS", "0.25", 0.25),
        ("AUTHZ__SERVER__TRANSPORT", "aio", "aio"),
        ("AUTHZ__SERVER__RETRIES", "3", 3),
        ("AUTHZ__SERVER__RETRIES", "null", None),
        ("AUTHZ__SERVER__TLS", "null", None),
        ("AUTHZ__LABELS__TEAM", "8", "8"),
        ("AUTHZ__WEIGHTS__A", "8", 8.0),
        ("AUTHZ__MATRIX", "[[1], [2, 3]]", ((1,), (2, 3))),
    ],
)
def test_a_value_is_read_as_the_setting_needs_it(read, variable, text, read_as):
    value = read("server.retries = 1", **{variable: text})
    for part in variable.lower().split("__")[1:]:
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    assert getattr(value, "value", value) == read_as


@pytest.mark.parametrize("text", ['{certificate_file = "/c.pem"}', '{"certificate_file": "/c.pem"}'])
def test_a_whole_section_may_be_one_variable(read, text):
    assert read(AUTHZ__SERVER__TLS=text).server.tls.certificate_file == "/c.pem"


@pytest.mark.parametrize("text", ['[{"url": "https://x"}]', '[{url = "https://x"}]'])
def test_a_list_of_sections_may_be_one_variable(read, text):
    assert read("[[issuers]]\nurl = 'https://old'", AUTHZ__ISSUERS=text).issuers[0].url == "https://x"


def test_a_variable_may_complete_a_section_of_the_file(read):
    config = read("[domains.prod]\nkey_file = 'k'", AUTHZ__DOMAINS__PROD__CERTIFICATE_FILE="c")
    assert (config.domains["prod"].certificate_file, config.domains["prod"].key_file) == ("c", "k")


def test_other_variables_are_not_looked_at(read, config_type):
    assert read(AUTHZ_CONFIG="x", HOME="/", AUTHZ="1", authz__name="x") == config_type()


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"AUTHZ__SERVER__LISTN": "x"}, 'AUTHZ__SERVER__LISTN: server.listn: unknown key; did you mean "listen"?'),
        ({"AUTHZ__SERVR__LISTEN": "x"}, 'AUTHZ__SERVR__LISTEN: servr: unknown key; did you mean "server"?'),
        (
            {"AUTHZ__SERVER__LISTEN__X": "x"},
            "AUTHZ__SERVER__LISTEN__X: server.listen: expected `str`, got `table`; given a table",
        ),
        (
            {"AUTHZ__SERVER__MAX_STREAMS": "many"},
            'AUTHZ__SERVER__MAX_STREAMS: server.max_streams: expected `int`, got `str`; given "many"',
        ),
        (
            {"AUTHZ__SERVER__MAX_STREAMS": "0"},
            "AUTHZ__SERVER__MAX_STREAMS: server.max_streams: expected `int` >= 1; given 0",
        ),
        (
            {"AUTHZ__SERVER__EAGER": "True"},
            'AUTHZ__SERVER__EAGER: server.eager: expected `bool`, got `str`; given "True"',
        ),
        (
            {"AUTHZ__SERVER__TRANSPORT": "h2"},
            'AUTHZ__SERVER__TRANSPORT: server.transport: expected one of "h2corn", "aio"; given "h2"',
        ),
        ({"AUTHZ__SERVER__TLS": "{}"}, "AUTHZ__SERVER__TLS: server.tls.certificate_file: missing; it has no default"),
        (
            {"AUTHZ__SERVER__TLS": "{certificate_file='x', key_file=''}"},
            "AUTHZ__SERVER__TLS: server.tls.key_file: must not be empty",
        ),
        ({"AUTHZ__ISSUERS": "[{url='http:'}]"}, "AUTHZ__ISSUERS: issuers[0].url: must be https"),
        (
            {"AUTHZ__SERVER": "{}", "AUTHZ__SERVER__LISTEN": "x"},
            'AUTHZ__SERVER__LISTEN: another variable sets the whole of "server"',
        ),
        ({"AUTHZ__": "x"}, "AUTHZ__: " + NO_NAME),
        ({"AUTHZ__A____B": "x"}, "AUTHZ__A____B: " + NO_NAME),
        ({"AUTHZ__name": "x"}, "AUTHZ__name: " + NO_NAME),
        ({"AUTHZ__A" + "__A" * 20: "x"}, "AUTHZ__A" + "__A" * 20 + ": " + NO_NAME),
        ({"AUTHZ__NAME": "\udc80"}, "AUTHZ__NAME: not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_variable_is_told_by_its_name(faults, environ, told):
    assert faults("", **environ) == [told]


def test_a_variable_cannot_reach_into_a_list_of_the_file(faults):
    (told,) = faults("[[issuers]]\nurl = 'https:'", AUTHZ__ISSUERS__0__URL="x")
    assert told == 'AUTHZ__ISSUERS__0__URL: the file gives "issuers" a value that is no table'


def test_faults_of_the_file_come_before_those_of_variables(faults):
    told = faults("[server]\nmax_streams = 0", AUTHZ__NAM="x", AUTHZ__SERVER__EAGER="7")
    assert [line.partition(": ")[0] for line in told] == ["authz.toml:2", "AUTHZ__NAM", "AUTHZ__SERVER__EAGER"]


def test_a_fault_of_the_file_that_a_variable_covers_is_no_fault(read):
    assert read("[server]\nmax_streams = 0", AUTHZ__SERVER__MAX_STREAMS="1").server.max_streams == 1


def test_a_deeply_nested_value_is_a_text_or_a_fault(faults):
    (told,) = faults(AUTHZ__MATRIX="[" * 10_000)
    assert told.startswith("AUTHZ__MATRIX: matrix: expected `array`, got `str`")
