"""What is wrong with a console's configuration is said before anything is served."""

from pathlib import Path

import pytest

from authz.config.file import load
from authz.config.settings import Config
from authz.control_plane import check_control
from authz.errors import ConfigError

CONTROL = """
[control]
enabled = true
listen = ["unix:/run/authz-test-control.sock"]
[[control.operators]]
name = "alice"
uid = 1000
oidc_subject = "ada"
[control.policy]
model = "{policies}/model.conf"
policies = ["{policies}/control.csv"]
"""
CONSOLE = """
[console]
enabled = true
listen = "127.0.0.1:0"
public_url = "https://console.example"
[console.oidc]
issuer = "https://login.example"
client_id = "authz"
[[console.oidc.members]]
claim = "sre"
groups = ["operators", "security"]
"""
POLICIES = Path(__file__).resolve().parents[3] / "policies"


@pytest.fixture
def check(tmp_path):
    def run(text=CONTROL + CONSOLE):
        file = tmp_path / "authz.toml"
        whole = '[identity]\ntrust_domain = "a"\n' + text.replace("{policies}", str(POLICIES))
        file.write_text(whole)
        config = load(file, Config, {})
        return check_control(config, tmp_path)

    return run


def test_a_whole_one_passes(check):
    assert check().version


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('oidc_subject = "ada"', "", "set oidc_subject"),
        ("enabled = true\nlisten = [", "enabled = false\nlisten = [", "set control.enabled"),
        ('listen = "127.0.0.1:0"', 'listen = "0.0.0.0:9195"', "sessions would pass in the clear"),
        ('public_url = "https://console.example"', "", "public_url"),
        ('public_url = "https://console.example"', 'public_url = "http://console.example"', "public_url"),
        ('public_url = "https://console.example"', 'public_url = "https://console.example/x"', "public_url"),
        ('issuer = "https://login.example"', "", "oidc.issuer"),
        ('issuer = "https://login.example"', 'issuer = "http://login.example"', "issuer"),
        ('issuer = "https://login.example"', 'issuer = "http://localhost.evil.example"', "issuer"),
        ('client_id = "authz"', "", "client_id"),
        ('client_id = "authz"', 'client_id = "authz"\nscopes = ["profile"]', '"openid" among them'),
        ('[[console.oidc.members]]\nclaim = "sre"\ngroups = ["operators", "security"]', "", "nobody may come in"),
        ('claim = "sre"', 'claim = "sre"\nroles = ["root"]', "root"),
    ],
)
def test_what_is_wrong_is_said(check, old, new, told):
    text = CONTROL + CONSOLE
    assert old in text
    with pytest.raises(ConfigError, match=told):
        check(text.replace(old, new, 1))


def test_an_operator_may_say_that_they_never_sign_in(check):
    assert check((CONTROL + CONSOLE).replace('oidc_subject = "ada"', 'oidc_subject = ""')).version


def test_two_operators_are_not_one_person(check):
    twice = CONTROL.replace(
        "[control.policy]", '[[control.operators]]\nname = "bob"\nuid = 1\noidc_subject = "ada"\n[control.policy]'
    )
    with pytest.raises(ConfigError, match="oidc_subject is 'alice', too"):
        check(twice + CONSOLE)
