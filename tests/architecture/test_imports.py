"""The shape that the design binds: imports point down, the core is pure, the request path stays readable."""

import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = ROOT / "authz"


def test_the_import_contract_holds():
    # In a process of its own: it disables every logger that exists.
    script = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_request_path_is_one_short_straight_function():
    tree = ast.parse((PACKAGE / "decision" / "check.py").read_text())
    [check] = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "check"]
    assert check.end_lineno - check.lineno <= 40
    assert not any(isinstance(n, ast.Await | ast.AsyncFor | ast.AsyncWith) for n in ast.walk(check))


def test_no_module_holds_more_than_one_idea_can_need():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in PACKAGE.rglob("*.py")
        if "pb2" not in path.name and (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long
