"""CheckRequests as a real Envoy sends them: with what is new in each, and headers as a map or as a list of bytes."""

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

FIRST_SECOND = 1_795_667_084


def proxied(message, number, *, listed=False, ids=("x-request-id",)):
    """The same request, as the `number`-th of a proxy: its time and stream id, and the ids that it is traced by.

    `listed`: as with `encode_raw_headers`. A message of the network filter is left as it is.
    """
    request = CheckRequest.FromString(message)
    attributes = request.attributes
    if not attributes.request.HasField("http"):
        return message
    attributes.destination.SetInParent()
    attributes.request.time.seconds = FIRST_SECOND + number // 1000
    attributes.request.time.nanos = number % 1000 * 1_000_000
    http = attributes.request.http
    http.id = str(10**18 + number * 1_000_003)
    http.headers[":path"] = http.path
    for name in ids:
        http.headers[name] = f"{number:08x}-0000-4000-8000-{number * 7:012x}"
    if listed:
        for name, value in sorted(http.headers.items()):
            http.header_map.headers.add(key=name, raw_value=value.encode())
        http.ClearField("headers")
    return request.SerializeToString(deterministic=True)
