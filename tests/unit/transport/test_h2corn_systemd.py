"""systemd is told nothing by the servers that come and go inside the process."""

import socket

from transport_kit import Pki, serving, settings_for


async def test_a_rotation_does_not_tell_systemd_that_the_service_stops(tmp_path, monkeypatch):
    pki = Pki(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        async with serving(settings_for("h2corn", tls=pki.settings())) as server:
            pki.install(pki.authority.issue(dns="authz.example"))
            assert await server.plane.renew_certificates()
        told = []
        try:
            while True:
                told.append(systemd.recv(100))
        except BlockingIOError:
            pass
    assert told == []
