"""A client of the control plane: grants for the length of a task, and every other call. Documentation: docs/client.md.

Needs grpcio and protobuf, nothing of the server.
"""

from authz.client.connection import Connection, connect
from authz.client.errors import CallFailedError
from authz.client.inject import grpc_interceptors, httpx_auth
from authz.client.tasks import Grants, Task, limits, permission

__all__ = [
    "CallFailedError",
    "Connection",
    "Grants",
    "Task",
    "connect",
    "grpc_interceptors",
    "httpx_auth",
    "limits",
    "permission",
]
