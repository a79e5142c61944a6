"""The HTTP listener of the control plane, on h2corn with TLS."""

from contextlib import ExitStack

from h2corn import Config

from authz.control.settings import HttpSettings
from authz.control.web import WebApp
from authz.errors import ConfigError
from authz.transport.app_server import AppServer
from authz.transport.h2corn_server import LogFormat, in_memory
from authz.transport.listeners import parse_address
from authz.transport.tls import TlsMaterial


class WebServer(AppServer[TlsMaterial]):
    """Serves a WebApp."""

    def __init__(self, settings: HttpSettings, app: WebApp, log_format: LogFormat = "json") -> None:
        """Check the address.

        Raises:
            ConfigError: it is none.
        """
        requested = parse_address(settings.listen)
        if requested.path:
            raise ConfigError("control.http.listen: an IP address and port is needed: clients are known by TLS")
        self._settings = settings
        self._log_format = log_format
        super().__init__("control.http", requested, 0, app, self._config)

    def _config(self, bound: tuple[str, ...], material: TlsMaterial, files: ExitStack) -> Config:
        settings = self._settings
        return Config(
            bind=bound,
            lifespan="off",
            access_log=False,
            log_format=self._log_format,
            runtime_threads=1,
            limit_connections=settings.max_connections,
            limit_concurrency=settings.max_concurrent_requests,
            limit_request_head_size=settings.max_header_bytes,
            limit_request_line=settings.max_header_bytes,
            limit_request_field_size=settings.max_header_bytes,
            h2_max_header_list_size=settings.max_header_bytes,
            h2_max_header_block_size=settings.max_header_bytes,
            max_request_body_size=settings.max_body_bytes + 1,  # ours is the limit that answers
            timeout_handshake=settings.timeout_seconds,
            timeout_request_header=settings.timeout_seconds,
            timeout_request_body_idle=settings.timeout_seconds,
            timeout_keep_alive=settings.idle_timeout_seconds,
            timeout_graceful_shutdown=settings.timeout_seconds,
            h2_timeout_response_stall=settings.timeout_seconds,
            h2_timeout_write=settings.timeout_seconds,
            certfile=files.enter_context(in_memory(material.certificate)),
            keyfile=files.enter_context(in_memory(material.key)),
            ca_certs=files.enter_context(in_memory(material.client_ca)),
            cert_reqs="optional",
        )
