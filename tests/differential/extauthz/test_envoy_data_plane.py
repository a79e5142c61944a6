"""Messages encoded by envoy-data-plane, an independent implementation, decode to the same call as upb's own."""

import datetime as dt
import warnings

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from hypothesis import given
from hypothesis import strategies as st

from authz.errors import Reason
from authz.extauthz.request import DecodeSettings, decode
from authz.extauthz.response import Encoder, ResponseSettings
from authz.model import AccessRequest, Asked, CheckCall, Decision, Effect, Kind, Outcome, Subject, Target

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from envoy_data_plane.envoy.config.core import v3 as core
    from envoy_data_plane.envoy.service.auth import v3 as auth

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=20)
NAME = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
FIELDS = st.fixed_dictionaries(
    {
        "principal": TEXT, "certificate": TEXT, "sni": TEXT, "method": TEXT, "path": TEXT, "host": TEXT, "scheme": TEXT,
        "protocol": TEXT, "id": TEXT, "body": TEXT, "raw_body": st.binary(max_size=20),
        "size": st.integers(-1, 2**40), "port": st.integers(0, 65535), "seconds": st.integers(0, 2**32),
        "headers": st.dictionaries(NAME, TEXT, max_size=5), "context": st.dictionaries(TEXT, TEXT, max_size=3),
        "raw": st.booleans(),
    }
)  # fmt: skip


def by_data_plane(f):
    headers = {} if f["raw"] else f["headers"]
    header_map = None
    if f["raw"]:
        header_map = core.HeaderMap(
            headers=[core.HeaderValue(key=k, raw_value=v.encode()) for k, v in f["headers"].items()]
        )
    http = auth.AttributeContextHttpRequest(
        id=f["id"], method=f["method"], headers=headers, header_map=header_map, path=f["path"], host=f["host"],
        scheme=f["scheme"], size=f["size"], protocol=f["protocol"], body=f["body"], raw_body=f["raw_body"],
    )  # fmt: skip
    address = core.Address(socket_address=core.SocketAddress(address="10.0.0.1", port_value=f["port"]))
    return bytes(
        auth.CheckRequest(
            attributes=auth.AttributeContext(
                source=auth.AttributeContextPeer(
                    address=address, principal=f["principal"], certificate=f["certificate"]
                ),
                destination=auth.AttributeContextPeer(address=address),
                request=auth.AttributeContextRequest(time=dt.datetime.fromtimestamp(f["seconds"], dt.UTC), http=http),
                context_extensions=f["context"],
                tls_session=auth.AttributeContextTlsSession(sni=f["sni"]),
            )
        )
    )


def by_upb(f):
    request = CheckRequest()
    attributes = request.attributes
    for peer in (attributes.source, attributes.destination):
        peer.address.socket_address.address = "10.0.0.1"
        peer.address.socket_address.port_value = f["port"]
    attributes.source.principal, attributes.source.certificate = f["principal"], f["certificate"]
    attributes.request.time.seconds = f["seconds"]
    attributes.tls_session.sni = f["sni"]
    attributes.context_extensions.update(f["context"])
    http = attributes.request.http
    http.SetInParent()
    for name in ("id", "method", "path", "host", "scheme", "size", "protocol", "body", "raw_body"):
        setattr(http, name, f[name])
    if f["raw"]:
        http.header_map.SetInParent()
        for key, value in f["headers"].items():
            http.header_map.headers.add(key=key, raw_value=value.encode())
    else:
        http.headers.update(f["headers"])
    return request.SerializeToString()


@given(FIELDS)
def test_both_encoders_mean_the_same_call(fields):
    settings = DecodeSettings()
    assert decode(by_data_plane(fields), settings) == decode(by_upb(fields), settings)


@given(TEXT, st.sampled_from(list(Reason)))
def test_an_independent_decoder_reads_our_answers_as_we_meant_them(text, reason):
    subject = Subject(id=text, kind=Kind.WORKLOAD)
    call = CheckCall(layer="http", method="GET", host="h", path="/", headers={"x-authz-forged": "1"})
    request = AccessRequest(subject=subject, target=Target(), sub={"id": text}, obj={}, act={}, env={"task": {}})
    effect = Effect.ALLOW if reason is Reason.ALLOWED else Effect.DENY
    asked = Asked(Target(), {}, "http", "GET", {"id": "t", "purpose": ""})
    outcome = Outcome("d1", Decision(effect, reason), call, subject, request, 0.0, 0.0, asked)
    encoder = Encoder(ResponseSettings())
    octets = (encoder.allow if effect is Effect.ALLOW else encoder.deny)(outcome)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = auth.CheckResponse.parse(octets)
    ours = CheckResponse.FromString(octets)
    assert theirs.status.code == ours.status.code
    assert (theirs.status.code == 0) == (effect is Effect.ALLOW)
    if effect is Effect.ALLOW:
        assert [(h.header.key, h.header.value) for h in theirs.ok_response.headers] == [
            (h.header.key, h.header.value) for h in ours.ok_response.headers
        ]
        assert theirs.ok_response.headers_to_remove == ["x-authz-forged"]
    else:
        assert theirs.ok_response is None
        assert theirs.denied_response.status.code == reason.http_status
        assert theirs.denied_response.body == ours.denied_response.body
