"""Generate the modules of our own protocols beside the code that serves them: authz/control/v1/*_pb2.py and *.pyi.

Services need no generated code: servers and clients read the descriptors (authz/control/dispatch.py, authz/client/).
"""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"


def generate(target: Path) -> None:
    """Write every module below `target`."""
    names = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    well_known = files("grpc_tools") / "_proto"
    outputs = (f"--python_out={target}", f"--pyi_out={target}")
    status = protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *names])
    if status != 0:
        sys.exit(status)


if __name__ == "__main__":
    generate(ROOT)
