"""Functions that configuration registers: loaded with clear errors, typed, and held to their time."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from authz.cli.main import cli
from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.errors import ConfigError
from authz.policy.functions import UserFunction
from authz.stores.user_functions import FunctionSettings, load_functions, time_function

MODULE = """
calls = []

def short(text: str, most: int) -> bool:
    return len(text) <= most

def level(labels) -> str:
    return labels.get("level", "none")

def fails(text):
    raise ValueError(f"secret {text}")

def wrong(text):
    return 1

async def slow(text):
    return True

class Thing:
    pass

NUMBER = 3
"""
MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, path
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub.id == p.sub && r.obj.path == p.path && short(r.obj.path, 3)
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_functions.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("raise RuntimeError('no')")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_functions", None)
    sys.modules.pop("own_broken", None)


def settings(name: str = "short", **fields: object) -> FunctionSettings:
    return FunctionSettings(python=f"own_functions:{name}", **{"parameters": ("str", "int"), **fields})


def loaded(name: str, **fields: object) -> UserFunction:
    return load_functions({"f": settings(name, **fields)})["f"]


def test_a_function_is_loaded_with_its_types():
    function = loaded("short")
    assert function.call("ab", 2) is True
    assert function.parameters == (str, int)
    assert function.returns is bool


@pytest.mark.parametrize(
    ("python", "parameters", "match"),
    [
        ("no_such_module:f", ("str",), "there is no module 'no_such_module'"),
        ("own_functions:no_such", ("str",), "the module has no 'no_such'"),
        ("own_functions:NUMBER", ("str",), "not a function"),
        ("own_functions:Thing", ("str",), "not a function"),
        ("own_functions:short", ("str",), r"does not take 1 arguments: its signature is \(text"),
        ("own_functions:slow", ("str",), "an async function"),
        ("own_broken:f", ("str",), "importing it failed: RuntimeError: no"),
    ],
)
def test_what_cannot_be_loaded_is_told_by_name(python: str, parameters: tuple[str, ...], match: str):
    with pytest.raises(ConfigError, match=rf"policy\.functions\.f: {python}: .*{match}"):
        load_functions({"f": FunctionSettings(python=python, parameters=parameters)})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('python = "os.system"\nparameters = ["str"]', "package.module:function"),
        ('python = "a:b:c"\nparameters = ["str"]', "package.module:function"),
        ('python = "a:b"\nparameters = []', "parameters"),
        ('python = "a:b"\nparameters = ["text"]', "invalid enum value 'text'"),
        ('python = "a:b"\nparameters = ["str"]\nreturns = "list"', "expected one of"),
        ('python = "a:b"\nparameters = ["str"]\nexamples = [["a", 1]]', "an example has 2 values"),
        ('python = "a:b"\nparameters = ["str"]\nexamples = [[1]]', "not of its parameter's type"),
        ('parameters = ["str"]', "python"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, text: str, match: str):
    file = tmp_path / "authz.toml"
    file.write_text(f'[identity]\ntrust_domain = "td.example"\n[policy.functions.f]\n{text}\n')
    with pytest.raises(ConfigError, match=match):
        load(file, Config, {})


class Clock:
    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_a_function_in_time_is_timed_and_one_beyond_is_told():
    own = settings(max_microseconds=50.0, examples=(("abc", 2),))
    function = load_functions({"f": own})["f"]
    assert time_function("f", own, function, Clock(40e-6)).problem == ""
    found = time_function("f", own, function, Clock(60e-6))
    assert found.problem == "policy.functions.f: took 60 microseconds; max_microseconds is 50"


@pytest.mark.parametrize(("name", "match"), [("fails", "failed with ValueError"), ("wrong", "answered int, not bool")])
def test_a_function_that_gives_no_answer_of_its_type_is_told(name: str, match: str):
    own = settings(name, parameters=("str",))
    found = time_function("f", own, load_functions({"f": own})["f"])
    assert match in found.problem
    assert "secret" not in found.problem


def test_without_examples_plain_values_of_the_right_types_are_used():
    own = settings("level", parameters=("dict",), returns="str")
    assert time_function("f", own, load_functions({"f": own})["f"], Clock(1e-9)).problem == ""


CONFIG = """
[identity]
trust_domain = "td.example"
[policy]
model = "model.conf"
policies = ["policy.csv"]
[policy.functions.short]
python = "own_functions:{name}"
parameters = ["str", "int"]
max_microseconds = 100000
"""


def configured(base: Path, name: str = "short") -> Path:
    (base / "model.conf").write_text(MODEL)
    (base / "policy.csv").write_text("p, spiffe://td.example/a, /ab\np, spiffe://td.example/a, /abc\n")
    (base / "authz.toml").write_text(CONFIG.format(name=name))
    return base / "authz.toml"


def test_a_policy_calls_it(tmp_path: Path):
    engine = Composition(load(configured(tmp_path), Config, {}), tmp_path).build_snapshot().engine
    who = {"id": "spiffe://td.example/a"}
    assert engine.evaluate((who, {"path": "/ab"}, {}), lambda: False).effect.value == "allow"
    assert engine.evaluate((who, {"path": "/abc"}, {}), lambda: False).effect.value == "deny"
    odd = engine.evaluate((who, {"path": 3}, {}), lambda: False)
    assert odd.effect.value == "deny"


def test_validate_times_functions_when_asked(tmp_path: Path):
    found = CliRunner().invoke(cli, ["config", "validate", "-c", str(configured(tmp_path)), "--time-functions"])
    assert found.exit_code == 0, found.output
    assert "short: " in found.output
    assert "microseconds (allowed: 100000)" in found.output


def test_validate_refuses_a_function_that_errs(tmp_path: Path):
    (tmp_path / "own_functions.py").write_text("def short(text, most):\n    return most\n")
    found = CliRunner().invoke(cli, ["config", "validate", "-c", str(configured(tmp_path)), "--time-functions"])
    assert isinstance(found.exception, ConfigError)
    assert "answered int, not bool" in str(found.exception)
