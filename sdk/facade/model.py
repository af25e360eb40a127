"""What an asynchronous module offers, as far as its public face needs to know. Nodes are those of :mod:`ast`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


class Kind(Enum):
    """How a member is offered."""

    CONSTRUCTOR = auto()
    PLAIN = auto()  # no I/O: called through
    PROPERTY = auto()
    COROUTINE = auto()  # blocks, and has an `.aio` twin
    ITERATION = auto()  # gives an AsyncIterator
    ENTER = auto()
    EXIT = auto()
    ITER = auto()
    NEXT = auto()


Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Member:
    """One method or property.

    Attributes:
        static: needs no instance (static and class methods).
        overloads: signatures that say more than ``node``'s.
    """

    kind: Kind
    node: Function
    static: bool = False
    overloads: list[Function] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def parameters(self) -> ast.arguments:
        """Without ``self`` or ``cls``."""
        arguments = self.node.args
        takes_instance = any(_is(decorator, "classmethod") for decorator in self.node.decorator_list) or not self.static
        return without_first(arguments) if takes_instance else arguments


@dataclass
class ExposedClass:
    """A class that gets a face."""

    name: str
    docstring: str
    bases: list[ast.expr]  # `Generic[T]` and the like
    members: list[Member]

    @property
    def face(self) -> str:
        return self.name.lstrip("_")


@dataclass
class Module:
    """One asynchronous module.

    Attributes:
        imported: name to the statement that brings it.
        defined: names that the module defines itself, exposed classes left out.
        exported: names that the public module passes on.
    """

    name: str
    docstring: str
    classes: list[ExposedClass]
    imported: Mapping[str, str]
    defined: frozenset[str]
    exported: list[str]


@dataclass
class Part:
    """A class in a private module that holds some of an exposed class's methods.

    Attributes:
        names: what annotations of the methods can mean: name to the statement that brings it.
    """

    name: str
    members: list[Member]
    names: Mapping[str, str]


Parts = Mapping[str, Part]


def without_first(arguments: ast.arguments) -> ast.arguments:
    """``arguments`` less the first positional one."""
    return ast.arguments(
        posonlyargs=arguments.posonlyargs,
        args=arguments.args[1:],
        vararg=arguments.vararg,
        kwonlyargs=arguments.kwonlyargs,
        kw_defaults=arguments.kw_defaults,
        kwarg=arguments.kwarg,
        defaults=arguments.defaults,
    )


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
