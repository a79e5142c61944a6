"""The few files that pages refer to: read at the start, served by exact name, so that no path leads anywhere else."""

import hashlib
from importlib.resources import files
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_TYPES: Final = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_CACHE: Final = "public, max-age=31536000, immutable"
"""The name holds a hash of the content."""


class Assets:
    """All of them, in memory."""

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}
        self._served: dict[str, tuple[bytes, str]] = {}
        for file in sorted(files("authz.console").joinpath("static").iterdir(), key=lambda each: each.name):
            stem, _, kind = file.name.rpartition(".")
            if kind not in _TYPES:
                continue
            content = file.read_bytes()
            served = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{kind}"
            self._urls[file.name] = f"/static/{served}"
            self._served[served] = content, _TYPES[kind]

    def url(self, name: str) -> str:
        """Answer where a file is served."""
        return self._urls[name]

    async def serve(self, request: Request) -> Response:
        """Serve one."""
        found = self._served.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404, "there is no such file")
        return Response(found[0], media_type=found[1], headers={"cache-control": _CACHE})
