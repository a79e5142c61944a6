"""Fetches one small document over HTTPS: bounded in size, time and where a redirect may lead."""

import http.client
import ssl
import time
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import msgspec

_CHUNK_BYTES = 65_536


class FetchError(Exception):
    """The document could not be had; the message holds nothing that the other side sent."""


class Fetched(msgspec.Struct, frozen=True):
    """One answer: the document, or None when it is still the one of that ETag."""

    content: bytes | None
    etag: str


class HttpsFetcher:
    """Fetches documents from one URL."""

    def __init__(
        self, url: str, *, ca_file: str, timeout_seconds: float, max_bytes: int, accept: str = "application/json"
    ) -> None:
        """`ca_file`: the authorities that may vouch for the server; "": those of the system. `accept`: a media type.

        Raises:
            FetchError: the URL is not one of HTTPS, or the authorities cannot be loaded.
        """
        check_url(url)
        self._url = url
        self._accept = accept
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        try:
            context = ssl.create_default_context(cafile=ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise FetchError(f"{ca_file}: no usable certificates: {type(error).__name__}") from None
        self._open = _opener(context).open

    def fetch(self, etag: str, monotonic: Callable[[], float] = time.monotonic) -> Fetched:
        """Ask for the document, unless it is still the one of `etag` ("": no matter).

        Raises:
            FetchError: no answer in time, an answer that is too large, or one that is not the document.
        """
        headers = {"Accept": self._accept, "Accept-Encoding": "identity", "User-Agent": "authz"}
        if etag:
            headers["If-None-Match"] = etag
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - check_url leaves https only
        deadline = monotonic() + self._timeout_seconds
        try:
            with self._open(request, timeout=self._timeout_seconds) as response:
                if response.status != HTTPStatus.OK:
                    raise FetchError(f"HTTP status {response.status}")
                content = self._read(response, lambda: monotonic() > deadline)
                return Fetched(content, response.headers.get("ETag", ""))
        except HTTPError as error:
            error.close()
            if error.code == HTTPStatus.NOT_MODIFIED and etag:
                return Fetched(None, etag)
            raise FetchError(f"HTTP status {error.code}") from None
        except URLError as error:
            raise FetchError(f"no connection: {type(error.reason).__name__}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchError(f"no whole answer: {type(error).__name__}") from None

    def _read(self, response: http.client.HTTPResponse, out_of_time: Callable[[], bool]) -> bytes:
        """The body. The socket's own timeout bounds one read only; a server could send a byte now and then for ever."""
        content = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            content += chunk
            if len(content) > self._max_bytes:
                raise FetchError(f"larger than {self._max_bytes} bytes")
            if out_of_time():
                raise FetchError("not complete in time")
        if response.length:
            raise FetchError("cut off")
        return bytes(content)


def check_url(url: str) -> None:
    """Accept an HTTPS URL that names a host and no user.

    Raises:
        FetchError: it is none.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "https" and parts.hostname and not parts.username and not parts.fragment
        _ = parts.port
    except ValueError:
        fine = False
    if not fine:
        # Keys that arrive over plain HTTP are whatever the network says they are.
        raise FetchError("the URL must start with https:// and name a host, without user or fragment")


class _SameHostRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to the same host and port, over HTTPS: no other party may hand out the keys."""

    max_redirections = 3

    def redirect_request(  # noqa: PLR0913, PLR0917 - the signature is urllib's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme != "https" or new.netloc.lower() != old.netloc.lower():
            raise FetchError("a redirect to another host, or away from HTTPS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(context: ssl.SSLContext) -> urllib.request.OpenerDirector:
    """An opener for HTTPS alone: no proxy out of the environment, no file: or ftp: behind a redirect."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SameHostRedirects(),
    ):
        opener.add_handler(handler)
    return opener
