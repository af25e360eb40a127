"""Annotations that name asynchronous classes: how the face spells them, and what has to be done to such values. Pure."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from typing import Final

_COLLECTIONS: Final = ("list", "List", "Sequence", "Collection", "Iterable")

Faces = Mapping[str, str]
"""Asynchronous class to the public module of its face."""


class _Renamed(ast.NodeTransformer):
    def __init__(self, faces: Faces) -> None:
        self._faces = faces

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(node.id.lstrip("_")) if node.id in self._faces else node


def face_of(annotation: ast.expr, faces: Faces) -> str:
    """The annotation as users see it."""
    return ast.unparse(_Renamed(faces).visit(copy.deepcopy(annotation)))


def names_in(node: ast.AST) -> Iterator[str]:
    """All names that ``node`` refers to."""
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def wrapping(annotation: ast.expr | None, faces: Faces) -> str | None:
    """The function of ``cove._dual`` that makes faces out of a value of this type; None if it has no use for one.

    Raises:  ValueError: a type that no function serves.
    """
    if annotation is None or not any(name in faces for name in names_in(annotation)):
        return None
    parts = [part for part in _union(annotation) if not _is_none(part)]
    if all(_exposed(part, faces) for part in parts):
        return "wrap" if len(parts) == len(list(_union(annotation))) else "wrap_optional"
    if len(parts) == 1 and _item(parts[0], faces):
        return "wrap_all"
    raise ValueError(f"no way to give a face to {ast.unparse(annotation)}")


def unwrapping(annotation: ast.expr | None, faces: Faces) -> tuple[str, str] | None:
    """The function that finds what lies behind an argument of this type, and the class it expects; None if it has no use for one.

    Raises:  ValueError: a type that no function serves.
    """
    if annotation is None or not any(name in faces for name in names_in(annotation)):
        return None
    parts = [part for part in _union(annotation) if not _is_none(part)]
    if len(parts) == 1 and (name := _exposed(parts[0], faces)):
        return "unwrap", name
    if len(parts) == 1 and (name := _item(parts[0], faces)):
        return "unwrap_all", name
    raise ValueError(f"no way to see behind a {ast.unparse(annotation)}")


def _union(annotation: ast.expr) -> Iterator[ast.expr]:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        yield from _union(annotation.left)
        yield from _union(annotation.right)
    else:
        yield annotation


def _is_none(annotation: ast.expr) -> bool:
    return isinstance(annotation, ast.Constant) and annotation.value is None


def _exposed(annotation: ast.expr, faces: Faces) -> str | None:
    base = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return base.id if isinstance(base, ast.Name) and base.id in faces else None


def _item(annotation: ast.expr, faces: Faces) -> str | None:
    """The exposed class that a collection holds."""
    if not isinstance(annotation, ast.Subscript):
        return None
    base = annotation.value
    name = base.attr if isinstance(base, ast.Attribute) else base.id if isinstance(base, ast.Name) else ""
    return _exposed(annotation.slice, faces) if name in _COLLECTIONS else None
