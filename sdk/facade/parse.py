"""From the source of an asynchronous module to its :class:`facade.model.Module`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from facade.model import ExposedClass, Function, Kind, Member, Module

_SPECIAL: Final = {"__aenter__": Kind.ENTER, "__aexit__": Kind.EXIT, "__aiter__": Kind.ITER, "__anext__": Kind.NEXT}
_ITERATORS: Final = ("AsyncIterator", "AsyncGenerator")


def parse(name: str, source: str) -> Module:
    """The model of module ``name``.

    Raises:  ValueError: something that has no face, naming it.
    """
    tree = ast.parse(source)
    statements = list(_top_level(tree.body))
    classes = [_class(node) for node in statements if isinstance(node, ast.ClassDef) and _is_exposed(node)]
    hidden = {exposed.name for exposed in classes}
    return Module(
        name=name,
        docstring=ast.get_docstring(tree) or "",
        classes=classes,
        imported=dict(_imports(statements)),
        defined=frozenset(_definitions(statements)) - hidden,
        exported=_exported(statements),
    )


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of the module, those under ``if TYPE_CHECKING`` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from node.body


def _is_exposed(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Exposed" for base in node.bases)


def _class(node: ast.ClassDef) -> ExposedClass:
    constructor = any(keyword.arg == "constructor" for keyword in node.keywords)
    return ExposedClass(
        name=node.name,
        docstring=ast.get_docstring(node) or "",
        bases=[base for base in node.bases if not (isinstance(base, ast.Name) and base.id == "Exposed")],
        members=list(_members(node, constructor=constructor)),
    )


def _members(node: ast.ClassDef, *, constructor: bool) -> Iterator[Member]:
    overloads: list[Function] = []
    for item in node.body:
        if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if "overload" in _decorators(item):
            overloads.append(item)
            continue
        if item.name in _SPECIAL or not item.name.startswith("_") or (constructor and item.name == "__init__"):
            static = bool({"staticmethod", "classmethod"} & set(_decorators(item)))
            yield Member(_kind(item), item, static=static, overloads=overloads)
        overloads = []


def _kind(node: Function) -> Kind:
    if node.name == "__init__":
        return Kind.CONSTRUCTOR
    if node.name in _SPECIAL:
        return _SPECIAL[node.name]
    if "property" in _decorators(node):
        return Kind.PROPERTY
    if returns_iterator(node):
        return Kind.ITERATION
    return Kind.COROUTINE if isinstance(node, ast.AsyncFunctionDef) else Kind.PLAIN


def returns_iterator(node: Function) -> bool:
    """Whether calling it gives an asynchronous iterator."""
    returned = node.returns
    return isinstance(returned, ast.Subscript) and isinstance(returned.value, ast.Name) and returned.value.id in _ITERATORS


def _decorators(node: Function) -> list[str]:
    return [decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)]


def _imports(statements: Iterable[ast.stmt]) -> Iterator[tuple[str, str]]:
    for node in statements:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                yield alias.asname or alias.name, f"from {node.module} import {ast.unparse(alias)}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], f"import {ast.unparse(alias)}"


def _definitions(statements: Iterable[ast.stmt]) -> Iterator[str]:
    for node in statements:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _exported(statements: Iterable[ast.stmt]) -> list[str]:
    for node in statements:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            return list(ast.literal_eval(node.value))
    return []
