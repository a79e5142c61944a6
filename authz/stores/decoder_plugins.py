"""The decoders that configuration names: built in, or brought along by other packages."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points

from authz.actions.a2a.decoder import A2aDecoder
from authz.actions.builtin import BUILT_IN, graphql
from authz.actions.decoder import Decoder
from authz.actions.mcp.decoder import McpDecoder
from authz.actions.settings import ActionSettings, PluginSettings
from authz.errors import ConfigError

GROUP = "authz.decoders"
"""The entry point group of decoders."""


def make_decoders(settings: ActionSettings) -> dict[str, Decoder]:
    """Every decoder by its name.

    Raises:
        ConfigError: a plugin is not installed, or does not load.
    """
    configured: dict[str, Callable[[], Decoder]] = {
        **BUILT_IN,
        "a2a": partial(A2aDecoder, settings.a2a),
        "graphql": partial(graphql, settings.graphql),
    }
    # Where the proxy may name any of them, all are made; else those that a route names.
    named = BUILT_IN.keys() if settings.context_key else {route.decoder for route in settings.routes}
    return {
        **{name: make() for name, make in configured.items() if name in named},
        **{name: McpDecoder(server) for name, server in settings.mcp.items()},
        **{name: _plugin(f"actions.plugins.{name}", plugin) for name, plugin in settings.plugins.items()},
    }


def _plugin(where: str, settings: PluginSettings) -> Decoder:
    name = settings.entry_point
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join(sorted(point.name for point in entry_points(group=GROUP))) or "none"
        raise ConfigError(f"{where}: no installed package has an entry point {name!r} in {GROUP!r}; there are: {known}")
    if len(found) > 1:
        raise ConfigError(f"{where}: more than one installed package has an entry point {name!r} in {GROUP!r}")
    try:
        decoder = found[0].load()(settings.settings)
    except Exception as error:
        raise ConfigError(f"{where}: making it failed: {type(error).__name__}: {error}") from error
    for part in ("content_types", "wants_body", "decode"):
        if not hasattr(decoder, part):
            raise ConfigError(f"{where}: what {found[0].value} makes is no decoder: it has no {part!r}")
    made: Decoder = decoder
    return made
