"""From the source of an asynchronous module to its :class:`facade.model.Module`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Final

from facade.model import ExposedClass, Function, Kind, Member, Module, Part, Parts

_SPECIAL: Final = {"__aenter__": Kind.ENTER, "__aexit__": Kind.EXIT, "__aiter__": Kind.ITER, "__anext__": Kind.NEXT}
_ITERATORS: Final = ("AsyncIterator", "AsyncGenerator")


def parse(name: str, source: str, parts: Parts = MappingProxyType({})) -> Module:
    """The model of module ``name``.

    Args:    parts: classes of private modules that its classes may derive from.
    Raises:  ValueError: something that has no face, naming it.
    """
    tree = ast.parse(source)
    statements = list(_top_level(tree.body))
    exposed = [node for node in statements if isinstance(node, ast.ClassDef) and _derives(node, "Exposed")]
    classes = [_class(node, parts) for node in exposed]
    used = [parts[base] for node in exposed for base in _base_names(node) if base in parts]
    hidden = {exposed.name for exposed in classes}
    return Module(
        name=name,
        docstring=ast.get_docstring(tree) or "",
        classes=classes,
        imported={name: text for names in [*(part.names for part in used), dict(_imports(statements))] for name, text in names.items()},
        defined=frozenset(_definitions(statements)) - hidden,
        exported=_exported(statements),
    )


def parse_parts(name: str, source: str) -> list[Part]:
    """The parts of exposed classes in the private module ``name``."""
    statements = list(_top_level(ast.parse(source).body))
    own = {defined: f"from cove._async.{name} import {defined}" for defined in _definitions(statements)}
    names = {**dict(_imports(statements)), **own}
    classes = [node for node in statements if isinstance(node, ast.ClassDef) and _derives(node, "Part")]
    return [Part(node.name, list(_members(node, constructor=False)), names) for node in classes]


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of the module, those under ``if TYPE_CHECKING`` included."""
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from node.body


def _derives(node: ast.ClassDef, base: str) -> bool:
    return base in _base_names(node)


def _base_names(node: ast.ClassDef) -> list[str]:
    return [base.id for base in node.bases if isinstance(base, ast.Name)]


def _class(node: ast.ClassDef, parts: Parts) -> ExposedClass:
    """The class with the members of its parts, which come after its own."""
    constructor = any(keyword.arg == "constructor" for keyword in node.keywords)
    inherited = [member for base in _base_names(node) if base in parts for member in parts[base].members]
    return ExposedClass(
        name=node.name,
        docstring=ast.get_docstring(node) or "",
        bases=[base for base in node.bases if not (isinstance(base, ast.Name) and (base.id == "Exposed" or base.id in parts))],
        members=[*_members(node, constructor=constructor), *inherited],
    )


def _members(node: ast.ClassDef, *, constructor: bool) -> Iterator[Member]:
    overloads: list[Function] = []
    for item in node.body:
        if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if "overload" in _decorators(item):
            overloads.append(item)
            continue
        if item.name in _SPECIAL or _is_public(item.name) or (constructor and item.name == "__init__"):
            static = bool({"staticmethod", "classmethod"} & set(_decorators(item)))
            yield Member(_kind(item), item, static=static, overloads=overloads)
        overloads = []


def _is_public(name: str) -> bool:
    """Names that may change have a prefix, and are offered all the same."""
    return not name.startswith("_") or name.startswith("_experimental_")


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
