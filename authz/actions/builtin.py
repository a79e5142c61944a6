"""The decoders that come with the server, by the names that routes give."""

from collections.abc import Callable, Mapping
from typing import Final

from authz.actions.a2a.decoder import A2aDecoder
from authz.actions.a2a.settings import A2aSettings
from authz.actions.chat.anthropic import AnthropicDecoder
from authz.actions.chat.openai import OpenAiDecoder
from authz.actions.decoder import Decoder
from authz.actions.graphql.settings import GraphqlSettings
from authz.actions.mcp.decoder import McpDecoder
from authz.actions.mcp.settings import McpSettings
from authz.actions.rest import RestDecoder
from authz.actions.rpc import GrpcDecoder


def graphql(settings: GraphqlSettings) -> Decoder:
    """Make the decoder of GraphQL, whose parser is slow to load, so that only those who use it do."""
    from authz.actions.graphql.decoder import GraphqlDecoder  # noqa: PLC0415 - see above

    return GraphqlDecoder(settings)


BUILT_IN: Final[Mapping[str, Callable[[], Decoder]]] = {
    "mcp": lambda: McpDecoder(McpSettings()),
    "a2a": lambda: A2aDecoder(A2aSettings()),
    "openai": OpenAiDecoder,
    "anthropic": AnthropicDecoder,
    "graphql": lambda: graphql(GraphqlSettings()),
    "grpc": GrpcDecoder,
    "rest": RestDecoder,
}
