"""From a :class:`facade.model.Module` to the source of its public module. The layout is left to the formatter."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from facade.model import ExposedClass, Function, Kind, Member, Module, without_first
from facade.types import Faces, face_of, names_in, unwrapping, wrapping

HEADER: Final = """# Written by `make facade` from cove/_async/{module}.py and its parts: change those, not this.
# It has every method of theirs with signature and documentation, for callers that block and that await: hence its length.
{docstring}

from __future__ import annotations
"""


class Template(NamedTuple):
    """Both faces of a special method, and the functions of ``cove._dual`` that they use."""

    helpers: tuple[str, str]
    code: str


TEMPLATES: Final = {
    Kind.ENTER: Template(
        ("enter", "enter_async"),
        """def __enter__(self) -> {returned}:
    enter(self._impl)
    return self

async def __aenter__(self) -> {returned}:
    await enter_async(self._impl)
    return self""",
    ),
    Kind.EXIT: Template(
        ("leave", "leave_async"),
        """def __exit__({signature}) -> {returned}:
    leave(self._impl, {names})

async def __aexit__({signature}) -> {returned}:
    await leave_async(self._impl, {names})""",
    ),
    Kind.ITER: Template(
        ("next_item", "next_item_async"),
        """def __iter__(self) -> {returned}:
    return self

def __aiter__(self) -> {returned}:
    return self""",
    ),
    Kind.NEXT: Template(
        ("next_item", "next_item_async"),
        """def __next__(self) -> {returned}:
    item: {returned} = next_item(self._impl)
    return item

async def __anext__(self) -> {returned}:
    item: {returned} = await next_item_async(self._impl)
    return item""",
    ),
}
"""Special methods; ``{names}`` are the parameters passed on."""


class Renderer:
    """Renders one module and collects the names that its code refers to."""

    def __init__(self, module: Module, faces: Faces) -> None:
        self._module = module
        self._faces = faces
        self._needed: set[str] = set()  # while running
        self._mentioned: set[str] = set()  # in annotations
        self._helpers: set[str] = set()  # from cove._dual

    def source(self) -> str:
        """The public module."""
        body = "\n\n\n".join(self._class(exposed) for exposed in self._module.classes)
        protocols = "\n\n".join(protocol for exposed in self._module.classes for protocol in self._protocols(exposed))
        typing_only = self._typing_imports() + ("\n\n" + protocols if protocols else "")
        if protocols:
            self._needed |= {"TYPE_CHECKING"}
        parts = [
            HEADER.format(module=self._module.name, docstring=_docstring(self._module.docstring)),
            self._imports(bool(typing_only.strip())),
            "if TYPE_CHECKING:\n" + textwrap.indent(typing_only, "    ") if typing_only.strip() else "",
            body,
            f"__all__ = {[*sorted([exposed.face for exposed in self._module.classes] + self._module.exported)]!r}",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _imports(self, has_typing_only: bool) -> str:
        lines = [f"from cove._dual import {', '.join(sorted(self._helpers))}"]
        lines += [self._import(name) for name in sorted(self._needed - {"TYPE_CHECKING"}) if self._importable(name)]
        lines += [self._import(name) for name in self._module.exported if name not in self._needed]
        if has_typing_only:
            lines.append("from typing import TYPE_CHECKING")
        return "\n".join(lines)

    def _typing_imports(self) -> str:
        names = self._mentioned - self._needed - set(self._module.exported)
        own = {exposed.face for exposed in self._module.classes}
        lines = [self._import(name) for name in sorted(names) if self._importable(name)]
        lines += [
            f"from cove.{module} import {core.lstrip('_')}"
            for core, module in sorted(self._faces.items())
            if self._mentions_face(core, own)
        ]
        if any(member.overloads for exposed in self._module.classes for member in exposed.members):
            lines.append("from typing import Protocol")
        return "\n".join(lines)

    def _mentions_face(self, core: str, own: set[str]) -> bool:
        return core in self._mentioned and core.lstrip("_") not in own

    def _importable(self, name: str) -> bool:
        if name in self._faces and name not in self._needed:
            return False
        return name in self._module.imported or name in self._module.defined or name in self._faces

    def _import(self, name: str) -> str:
        if name in self._module.imported:
            return self._module.imported[name]
        return f"from cove._async.{self._module.name} import {name}"

    def _class(self, exposed: ExposedClass) -> str:
        self._helpers.add("Face")
        self._needed.update(name for base in exposed.bases for name in names_in(base))
        bases = ", ".join(["Face", *(ast.unparse(base) for base in exposed.bases)])
        variables = [part.slice for base in exposed.bases for part in ast.walk(base) if isinstance(part, ast.Subscript)]
        core = exposed.name + (f"[{', '.join(map(ast.unparse, variables))}]" if variables else "")
        self._needed.add(exposed.name)
        members = [f"__slots__ = ()\n_impl: {core}", *(self._member(exposed, member) for member in exposed.members)]
        body = "\n\n".join([_docstring(exposed.docstring), *members])
        return f"class {exposed.face}({bases}):\n{textwrap.indent(body, '    ')}"

    def _member(self, exposed: ExposedClass, member: Member) -> str:
        match member.kind:
            case Kind.CONSTRUCTOR:
                return self._constructor(exposed, member)
            case Kind.ENTER | Kind.EXIT | Kind.ITER | Kind.NEXT:
                return self._protocol_method(member)
            case Kind.ITERATION:
                return self._iteration(exposed, member)
            case Kind.COROUTINE:
                return self._coroutine(exposed, member)
            case Kind.PLAIN | Kind.PROPERTY:
                return self._plain(exposed, member)

    def _constructor(self, exposed: ExposedClass, member: Member) -> str:
        self._helpers.add("attach")
        call = f"{exposed.name}({self._arguments(member.parameters)})"
        return f"def __init__({self._signature(member.node, first='self')}) -> None:\n{_body(member, f'attach(self, {call})')}"

    def _plain(self, exposed: ExposedClass, member: Member) -> str:
        target = self._target(exposed, member)
        value = target if member.kind is Kind.PROPERTY else f"{target}({self._arguments(member.parameters)})"
        decorator = "@property\n" if member.kind is Kind.PROPERTY else "@staticmethod\n" if member.static else ""
        return f"{decorator}def {self._head(member)}:\n{_body(member, self._give(member, value))}"

    def _coroutine(self, exposed: ExposedClass, member: Member) -> str:
        value = f"await {self._target(exposed, member)}({self._arguments(member.parameters)})"
        decorator = self._decorator(member, "function", "method")
        code = f"{decorator}async def {self._head(member)}:\n{_body(member, self._give(member, value))}"
        if not member.overloads:
            return code
        protocol = _protocol_name(exposed, member)
        return f"if TYPE_CHECKING:\n    {member.name}: {protocol}\nelse:\n{textwrap.indent(code, '    ')}"

    def _iteration(self, exposed: ExposedClass, member: Member) -> str:
        self._helpers.add("Iteration")
        assert isinstance(member.node.returns, ast.Subscript)
        item = member.node.returns.slice
        self._mentioned.update(names_in(item))
        source = f"{self._target(exposed, member)}({self._arguments(member.parameters)})"
        wrapped = wrapping(item, self._faces) is not None
        decorator = self._decorator(member, "iteration_function", "iteration")
        signature = self._signature(member.node, first="" if member.static else "self")
        head = f"def {member.name}({signature}) -> Iteration[{face_of(item, self._faces)}]"
        return f"{decorator}{head}:\n{_body(member, f'return Iteration({source}, wrapped={wrapped})')}"

    def _protocol_method(self, member: Member) -> str:
        assert member.node.returns is not None
        self._mentioned.update(names_in(member.node.returns))
        returned = face_of(member.node.returns, self._faces)
        template = TEMPLATES[member.kind]
        self._helpers.update(template.helpers)
        signature = self._signature(member.node, first="self")
        return template.code.format(returned=returned, signature=signature, names=self._arguments(member.parameters))

    def _protocols(self, exposed: ExposedClass) -> Iterator[str]:
        """What type checkers see in place of a method with overloads."""
        for member in exposed.members:
            if member.overloads:
                self._mentioned.add("overload")
                calls = [self._overload(node, "def __call__") for node in member.overloads]
                twins = [self._overload(node, "async def aio") for node in member.overloads]
                body = "\n\n".join([_docstring(ast.get_docstring(member.node) or ""), *calls, *twins])
                yield f"class {_protocol_name(exposed, member)}(Protocol):\n{textwrap.indent(body, '    ')}"

    def _overload(self, node: Function, head: str) -> str:
        assert node.returns is not None
        self._mentioned.update(names_in(node.returns))
        return f"@overload\n{head}({self._signature(node, first='self')}) -> {face_of(node.returns, self._faces)}: ..."

    def _decorator(self, member: Member, static: str, bound: str) -> str:
        self._helpers.add(static if member.static else bound)
        return f"@staticmethod\n@{static}\n" if member.static else f"@{bound}\n"

    def _target(self, exposed: ExposedClass, member: Member) -> str:
        return f"{exposed.name}.{member.name}" if member.static else f"self._impl.{member.name}"

    def _head(self, member: Member) -> str:
        assert member.node.returns is not None, f"{member.name} does not say what it returns"
        self._mentioned.update(names_in(member.node.returns))
        signature = self._signature(member.node, first="" if member.static else "self")
        return f"{member.name}({signature}) -> {face_of(member.node.returns, self._faces)}"

    def _give(self, member: Member, value: str) -> str:
        """The statements that return ``value``."""
        returns = member.node.returns
        assert returns is not None
        if isinstance(returns, ast.Constant) and returns.value is None:
            return value
        helper = wrapping(returns, self._faces)
        if helper is None:
            return f"return {value}"
        self._helpers.add(helper)
        return f"result: {face_of(returns, self._faces)} = {helper}({value})\nreturn result"

    def _signature(self, node: Function, *, first: str) -> str:
        """The parameters as users see them, after ``first``."""
        static = any(isinstance(item, ast.Name) and item.id == "staticmethod" for item in node.decorator_list)
        arguments = node.args if static else without_first(node.args)
        for default in [*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None)]:
            self._needed.update(names_in(default))
        for argument in _all_arguments(arguments):
            if argument.annotation is not None:
                self._mentioned.update(names_in(argument.annotation))
                argument.annotation = ast.parse(face_of(argument.annotation, self._faces), mode="eval").body
        text = ast.unparse(arguments)
        return ", ".join(part for part in (first, text) if part)

    def _arguments(self, arguments: ast.arguments) -> str:
        """The arguments passed on, with what lies behind faces."""
        given = [self._argument(argument) for argument in [*arguments.posonlyargs, *arguments.args]]
        if arguments.vararg:
            given.append(f"*{arguments.vararg.arg}")
        given += [f"{argument.arg}={self._argument(argument)}" for argument in arguments.kwonlyargs]
        if arguments.kwarg:
            given.append(f"**{arguments.kwarg.arg}")
        return ", ".join(given)

    def _argument(self, argument: ast.arg) -> str:
        helper = unwrapping(argument.annotation, self._faces)
        if helper is None:
            return argument.arg
        self._helpers.add(helper[0])
        self._needed.add(helper[1])
        return f"{helper[0]}({argument.arg}, {helper[1]})"


def _all_arguments(arguments: ast.arguments) -> Iterable[ast.arg]:
    extra = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *extra]


def _protocol_name(exposed: ExposedClass, member: Member) -> str:
    return f"_{exposed.face}_{member.name}"


def _docstring(text: str) -> str:
    quoted = text.replace("\\", "\\\\")
    return f'"""{quoted}"""' if "\n" not in quoted else f'"""{quoted}\n"""'


def _body(member: Member, statements: str) -> str:
    docstring = ast.get_docstring(member.node)
    parts = [_docstring(docstring)] if docstring else []
    return textwrap.indent("\n".join([*parts, statements]), "    ")
