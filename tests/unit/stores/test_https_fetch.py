"""Fetching a document over HTTPS: only whole, small, in time, and from nobody else."""

import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from authz.stores.https_fetch import Fetched, FetchError, HttpsFetcher, check_url


def fetcher(server, **changes) -> HttpsFetcher:
    settings = {"ca_file": server.ca_file, "timeout_seconds": 60.0, "max_bytes": 1_000}
    return HttpsFetcher(changes.pop("url", server.url), **(settings | changes))


def test_a_document_comes_with_its_etag_and_is_asked_for_plainly(server):
    server.answer = lambda handler: server.reply(handler, b'{"keys": []}', ETag='"one"')
    assert fetcher(server).fetch("") == Fetched(b'{"keys": []}', '"one"')
    path, headers = server.asked[0]
    assert path == "/keys"
    assert headers["accept-encoding"] == "identity"
    assert "if-none-match" not in headers
    assert not {"cookie", "authorization"} & set(headers)


def test_an_unchanged_document_is_not_sent_again(server):
    server.answer = lambda handler: server.reply(handler, b"", 304)
    assert fetcher(server).fetch('"one"') == Fetched(None, '"one"')
    assert server.asked[0][1]["if-none-match"] == '"one"'


def test_not_modified_without_having_asked_is_an_error(server):
    server.answer = lambda handler: server.reply(handler, b"", 304)
    with pytest.raises(FetchError, match="HTTP status 304"):
        fetcher(server).fetch("")


@pytest.mark.parametrize("status", [201, 204, 206, 400, 401, 404, 500, 503])
def test_any_other_status_is_an_error(server, status):
    server.answer = lambda handler: server.reply(handler, b"" if status == 204 else b"{}", status)
    with pytest.raises(FetchError, match=f"HTTP status {status}"):
        fetcher(server).fetch("")


def test_a_document_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(server):
    server.answer = lambda handler: server.reply(handler, b"x" * 1_000)
    assert fetcher(server).fetch("").content == b"x" * 1_000
    with pytest.raises(FetchError, match="larger than 999 bytes"):
        fetcher(server, max_bytes=999).fetch("")


def test_a_document_without_end_is_cut_at_the_limit(server):
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 1_000)

    server.answer = endless
    with pytest.raises(FetchError, match="larger than 1000 bytes"):
        fetcher(server).fetch("")


def test_a_document_that_is_cut_off_is_refused(server):
    def short(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b'{"keys": []}')
        handler.close_connection = True

    server.answer = short
    with pytest.raises(FetchError, match=r"cut off|no whole answer"):
        fetcher(server).fetch("")


def test_a_chunked_document_that_is_cut_off_is_refused(server):
    def short(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"c\r\n" + b'{"keys": []}' + b"\r\n")
        handler.close_connection = True

    server.answer = short
    with pytest.raises(FetchError, match=r"no whole answer"):
        fetcher(server).fetch("")


def test_a_server_that_sends_a_byte_now_and_then_is_not_waited_for(server):
    ticks = iter(range(0, 1_000, 2))

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(900):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    server.answer = drip
    with pytest.raises(FetchError, match="not complete in time"):
        fetcher(server).fetch("", monotonic=lambda: float(next(ticks)))


def test_a_server_that_says_nothing_is_not_waited_for(server):
    release = threading.Event()
    server.answer = lambda _: release.wait(60)
    try:
        with pytest.raises(FetchError, match="no whole answer: TimeoutError"):
            fetcher(server, timeout_seconds=2.0).fetch("")
    finally:
        release.set()


def test_a_redirect_on_the_same_host_is_followed(server):
    server.answer = lambda handler: (
        server.reply(handler, b"", 302, Location="/new") if handler.path == "/keys" else server.reply(handler, b"moved")
    )
    assert fetcher(server).fetch("").content == b"moved"


@pytest.mark.parametrize(
    "location",
    [
        "https://127.0.0.1:1/keys",
        "https://localhost:{port}/keys",
        "https://user@127.0.0.1:{port}/keys",
        "http://127.0.0.1:{port}/keys",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//evil.example/keys",
    ],
)
def test_a_redirect_to_anybody_else_is_refused(server, location):
    server.answer = lambda handler: server.reply(handler, b"", 302, Location=location.format(port=server.port))
    with pytest.raises(FetchError, match=r"a redirect to another host|HTTP status 302"):
        fetcher(server).fetch("")
    assert len(server.asked) == 1


def test_redirects_in_a_circle_end(server):
    server.answer = lambda handler: server.reply(handler, b"", 302, Location=f"{handler.path}x")
    with pytest.raises(FetchError, match="HTTP status 302"):
        fetcher(server).fetch("")
    assert len(server.asked) <= 12


def test_a_server_with_another_certificate_is_not_believed(server):
    with pytest.raises(FetchError, match="no connection: SSLCertVerificationError"):
        fetcher(server, ca_file="").fetch("")
    assert not server.asked


def test_a_server_under_another_name_is_not_believed(server):
    with pytest.raises(FetchError, match="no connection: SSLCertVerificationError"):
        fetcher(server, url=f"https://localhost:{server.port}/keys").fetch("")
    assert not server.asked


def test_nobody_there_is_an_error(server):
    with pytest.raises(FetchError, match="no connection: "):
        fetcher(server, url="https://127.0.0.1:1/keys").fetch("")


def test_a_proxy_of_the_environment_is_not_asked(server, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert fetcher(server).fetch("").content == b"{}"


def test_what_the_server_said_is_in_no_error(server):
    server.answer = lambda handler: server.reply(handler, b"s3cret", 500, ETag="s3cret")
    with pytest.raises(FetchError) as refused:
        fetcher(server).fetch("")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        *["", "/keys", "keys", "http://a.example/keys", "HTTP://a.example", "ftp://a.example", "file:///etc/passwd"],
        *["https://", "https:///keys", "https://user@a.example/", "https://user:pw@a.example/", "https://a.example/#x"],
        *["https://a.example:x/", "https://a.example:99999/", "https://[::1/", "data:,{}"],
    ],
)
def test_a_url_that_is_not_plain_https_is_refused(url):
    with pytest.raises(FetchError, match="must start with https"):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["https://a.example", "https://a.example:8443/x?y=z", "https://[::1]/x", "HTTPS://a.example/"]
)
def test_a_plain_https_url_is_taken(url):
    check_url(url)


def test_authorities_that_cannot_be_loaded_are_an_error(tmp_path: Path):
    (tmp_path / "broken.pem").write_text("no certificate")
    for name in ("broken.pem", "missing.pem"):
        with pytest.raises(FetchError, match=f"{name}: no usable certificates"):
            HttpsFetcher("https://a.example", ca_file=str(tmp_path / name), timeout_seconds=1, max_bytes=1)
