"""The files in envoy/ that no test runs as they stand: what can be said of them without a cluster."""

import re
import string
import textwrap
from pathlib import Path

import pytest

from authz.config.file import load
from authz.config.settings import Config

ENVOY = Path(__file__).parents[2] / "envoy"
KUBERNETES = (ENVOY / "kubernetes.yaml").read_text()
CONFIGURATIONS = re.findall(r"^  authz\.toml: \|\n((?:    .*\n|\n)+)", KUBERNETES, re.MULTILINE)


def placeholders(text: str) -> set[str]:
    return set(string.Template(text).get_identifiers())


@pytest.mark.parametrize("at", [0, 1])
def test_the_configurations_for_kubernetes_load_and_the_probes_find_what_they_ask(tmp_path, at):
    file = tmp_path / "authz.toml"
    file.write_text(textwrap.dedent(CONFIGURATIONS[at]))
    config = load(file, Config, {})
    assert len(CONFIGURATIONS) == 2
    assert config.admin.listen.endswith(":9192")
    assert config.identity.certificates.trust == "bundle"


def test_a_pod_has_time_to_drain_before_it_is_killed(tmp_path):
    file = tmp_path / "authz.toml"
    file.write_text(textwrap.dedent(CONFIGURATIONS[0]))
    server = load(file, Config, {}).server
    (grace,) = {int(found) for found in re.findall(r"terminationGracePeriodSeconds: (\d+)\n      topology", KUBERNETES)}
    assert server.drain_delay_seconds + server.goaway_seconds + server.drain_timeout_seconds < grace


@pytest.mark.parametrize("name", ["bootstrap.yaml", "authz.toml"])
def test_each_placeholder_is_explained_in_the_head_and_each_that_is_explained_is_used(name):
    head, _, body = (ENVOY / name).read_text().partition("\n\n")
    assert placeholders(head) == placeholders(body)


@pytest.mark.parametrize("name", ["bootstrap.yaml", "istio-mesh.yaml", "envoy-gateway.yaml"])
def test_every_envoy_denies_when_authz_does_not_answer_within_its_deadline(name):
    text = (ENVOY / name).read_text()
    assert not re.search(r"^[^#]*(failure_mode_allow|failOpen): true", text, re.MULTILINE)
    assert re.search(r"^[^#]*(failure_mode_allow|failOpen): false", text, re.MULTILINE)
    assert re.search(r"timeout: (0\.2s|200ms)$", text, re.MULTILINE)


def test_the_scripts_are_no_package_so_that_the_generated_modules_stay_importable():
    assert not (ENVOY / "__init__.py").exists()
