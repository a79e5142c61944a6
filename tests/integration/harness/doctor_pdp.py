"""A stand-in for the PDP's side of `authz doctor`: answers probes with what it saw of them."""

import hashlib
import json

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from harness.stub_pdp import deny

from authz.cli.probing import PREFIX
from authz.errors import Refusal
from authz.extauthz.canonical import RequestRules, canonicalise
from authz.extauthz.request import DecodeSettings, decode


def observe(request: CheckRequest) -> CheckResponse:
    call = decode(request.SerializeToString(), DecodeSettings())
    if not call.path.startswith(f"{PREFIX}/"):
        return deny()
    nonce = call.path.removeprefix(f"{PREFIX}/").partition("/")[0]
    try:
        canonical, refusal = canonicalise(call, RequestRules()).path, ""
    except Refusal as refused:
        canonical, refusal = "", str(refused.reason)
    xfcc = call.headers.get("x-forwarded-client-cert", "")
    observed = {
        "path": call.path,
        "canonical_path": canonical,
        "refusal": refusal,
        "scheme": call.scheme,
        "subject": call.principal,
        "certificate": bool(call.certificate),
        "raw_headers": call.raw_headers,
        "nonce_headers": sorted(name for name, value in call.headers.items() if nonce in value),
        "xfcc_elements": xfcc.count(",") + 1 if xfcc else 0,
        "body_bytes": len(call.body),
        "body_sha256": hashlib.sha256(call.body).hexdigest(),
        "body_partial": call.body_partial,
    }
    response = deny(body=json.dumps({"reason": "doctor_probe", "observed": observed}))
    header = response.denied_response.headers.add().header
    header.key, header.value = "content-type", "application/problem+json"
    return response
