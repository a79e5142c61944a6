"""Decoders of other packages, had by their entry points."""

from importlib.metadata import EntryPoint

import pytest

from authz.actions.mcp.decoder import McpDecoder
from authz.actions.mcp.settings import McpSettings
from authz.actions.settings import ActionSettings, PluginSettings, RouteSettings
from authz.errors import ConfigError
from authz.model import Action
from authz.stores import decoder_plugins
from authz.stores.decoder_plugins import make_decoders


class Soap:
    content_types = ("text/xml",)

    def __init__(self, settings):
        self.settings = settings

    def wants_body(self, message):
        return True

    def decode(self, message, body, limits):
        return (Action("soap:x", kind="soap"),)


def broken(settings):
    raise KeyError("wsdl")


@pytest.fixture
def installed(monkeypatch):
    """What is installed, by name: a value such as `module:attribute`."""
    points = {}

    def entry_points(*, group, name=None):
        return [
            EntryPoint(known, value, group)
            for known, values in points.items()
            for value in values
            if group == "authz.decoders" and name in (None, known)
        ]

    monkeypatch.setattr(decoder_plugins, "entry_points", entry_points)
    return points


@pytest.fixture
def here(request):
    """This module, as an entry point names it."""
    import sys

    sys.modules.setdefault("soap_plugin", sys.modules[__name__])
    return "soap_plugin"


def made(**plugin):
    return make_decoders(
        ActionSettings(routes=(RouteSettings(decoder="soap"),), plugins={"soap": PluginSettings(**plugin)})
    )


def test_a_plugin_is_made_with_its_settings(installed, here):
    installed["soap"] = [f"{here}:Soap"]
    assert made(entry_point="soap", settings={"wsdl": "x"})["soap"].settings == {"wsdl": "x"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "no installed package has an entry point 'soap' in 'authz.decoders'; there are: other"),
        (["soap_plugin:Soap", "soap_plugin:Soap"], "more than one installed package"),
        (["soap_plugin:broken"], "making it failed: KeyError"),
        (["soap_plugin:nothing"], "making it failed: AttributeError"),
        (["no.such.module:x"], "making it failed: ModuleNotFoundError"),
        (["builtins:dict"], "it has no 'content_types'"),
    ],
)
def test_a_plugin_that_cannot_be_had_stops_the_start(installed, here, values, said):
    installed.update({"soap": values, "other": ["x:y"]})
    with pytest.raises(ConfigError, match=r"actions\.plugins\.soap") as refused:
        made(entry_point="soap")
    assert said in str(refused.value)


def test_servers_of_mcp_are_decoders_by_their_names():
    settings = ActionSettings(
        routes=(RouteSettings(decoder="ledger"), RouteSettings(decoder="rest")), mcp={"ledger": McpSettings()}
    )
    found = make_decoders(settings)
    assert isinstance(found["ledger"], McpDecoder)
    assert found.keys() == {"ledger", "rest"}


def test_where_the_proxy_names_decoders_all_are_there():
    assert make_decoders(ActionSettings(context_key="d")).keys() >= {"mcp", "a2a", "openai", "graphql", "grpc", "rest"}
