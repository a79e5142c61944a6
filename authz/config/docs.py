"""What each setting means: the docstrings under the fields, read from the source since Python does not keep them."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def field_docs(kind: type) -> dict[str, str]:
    """Answer the meaning of each documented field, inherited ones included; nothing where the source is not there."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        docs |= _classes(base.__module__, _source_path(base)).get(base.__qualname__, {})
    return docs


def class_doc(kind: type) -> str:
    """Answer what a section is about; "" when its class does not say."""
    return inspect.cleandoc(kind.__doc__ or "")


def _source_path(kind: type) -> str:
    try:
        return inspect.getsourcefile(kind) or ""
    except TypeError:  # a class of the interpreter itself
        return ""


@cache
def _classes(_module: str, source_path: str) -> dict[str, dict[str, str]]:
    if not source_path:
        return {}
    try:
        tree = ast.parse(Path(source_path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return {}  # only the meanings are missing then
    return {name: _fields(node) for name, node in _class_nodes(tree, "")}


def _class_nodes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield every class by its qualified name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield prefix + child.name, child
            yield from _class_nodes(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _class_nodes(child, f"{prefix}{child.name}.<locals>.")
        elif isinstance(child, ast.stmt):
            yield from _class_nodes(child, prefix)


def _fields(node: ast.ClassDef) -> dict[str, str]:
    docs = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            docs[field.target.id] = inspect.cleandoc(after.value.value).strip()
    return docs
