"""The committed modules of our protocols are those that the .proto files give."""

import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PROTOS = ROOT / "protos"


@pytest.fixture
def generate():
    spec = importlib.util.spec_from_file_location("generate_protos", PROTOS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate


def test_generated_modules_are_current(generate, tmp_path):
    generate(tmp_path)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.py*")}
    kept = {path.relative_to(ROOT): path.read_bytes() for path in (ROOT / "authz").rglob("*_pb2.py*")}
    assert made == kept, "run `make protos`"


def test_every_service_method_message_field_and_value_says_what_it_is():
    undocumented = []
    for path in PROTOS.rglob("*.proto"):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            declares = re.match(r"\s*(message|service|enum|rpc)\b|.*=\s*\d+;$", line)
            if declares and not lines[number - 1].strip().startswith("//"):
                undocumented.append(f"{path.name}:{number + 1}: {line.strip()}")
    assert not undocumented
