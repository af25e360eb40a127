"""What the generated modules are made of: objects with a blocking face and an asynchronous one over the classes in ``cove._async``."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from importlib import import_module
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, overload

from cove._async.base import Exposed
from cove._bridge import BRIDGE
from cove.exception import InvalidError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


class Face:
    """Base of the public classes. Made by methods; some can be constructed."""

    __slots__ = ("__weakref__", "_impl")
    _impl: Any

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} is not constructed directly: see its methods")

    def __repr__(self) -> str:
        name = getattr(self, "object_id", None) or getattr(self, "exec_id", None) or getattr(self, "name", None)
        return f"<cove.{type(self).__name__} {name}>" if name else f"<cove.{type(self).__name__}>"


def wrap(impl: Any) -> Any:
    """The face of an object of ``cove._async``: the same one as long as somebody holds it."""
    face = impl._face() if impl._face is not None else None
    if face is None:
        face = object.__new__(_face_of(type(impl)))
        attach(face, impl)
    return face


def attach(face: Face, impl: Exposed) -> None:
    """Make ``face`` the face of ``impl``."""
    face._impl = impl
    impl._face = weakref.ref(face)


def wrap_all(impls: Iterable[Any]) -> list[Any]:
    """The faces of several objects."""
    return [wrap(impl) for impl in impls]


def wrap_optional(impl: Any) -> Any:
    """The face of an object, None for None."""
    return None if impl is None else wrap(impl)


def unwrap(face: Any, kind: type[Exposed]) -> Any:
    """What lies behind a face that a user passed; None stays None.

    Raises:  InvalidError: it is something else.
    """
    if face is None:
        return None
    impl = getattr(face, "_impl", None)
    if not isinstance(impl, kind):
        raise InvalidError(f"Expected a cove.{kind.__name__.lstrip('_')}, not {type(face).__name__}.", remedy="Pass such an object.")
    return impl


def unwrap_all(faces: Iterable[Any] | None, kind: type[Exposed]) -> Any:
    """What lies behind several faces; None stays None."""
    return None if faces is None else [unwrap(face, kind) for face in faces]


_faces: Final[dict[type, Any]] = {}


def _face_of(kind: type) -> Any:
    if kind not in _faces:
        module = import_module(kind.__module__.replace("._async.", "."))
        _faces[kind] = getattr(module, kind.__name__.lstrip("_"))  # the generator names it so
    return _faces[kind]


class Bound(Generic[P, R]):
    # What `sandbox.exec` is: call it and block, or await its `aio`, on any event loop. (A comment, for the docstring is the method's.)

    __slots__ = ("__doc__", "_function", "_instance")

    def __init__(self, function: Callable[..., Coroutine[Any, Any, R]], instance: object) -> None:
        self._function = function
        self._instance = instance
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return BRIDGE.run(self._function(self._instance, *args, **kwargs))

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same for asynchronous code."""
        return await BRIDGE.run_async(self._function(self._instance, *args, **kwargs))

    @property
    def __name__(self) -> str:
        return self._function.__name__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function.__get__(self._instance))

    def __repr__(self) -> str:
        return f"<bound {self._function.__qualname__} of {self._instance!r}>"


class method(Generic[S, P, R]):
    """Decorator of a coroutine method of a face: makes it a :class:`Bound` when looked up."""

    def __init__(self, function: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: S, owner: type) -> Bound[P, R]: ...

    def __get__(self, instance: S | None, owner: type) -> Self | Bound[P, R]:
        return self if instance is None else Bound(self._function, instance)

    def __call__(self, instance: S, *args: P.args, **kwargs: P.kwargs) -> R:
        return BRIDGE.run(self._function(instance, *args, **kwargs))


class function(Generic[P, R]):
    """The same for a static or class method, which needs no instance."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return BRIDGE.run(self._function(*args, **kwargs))

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same for asynchronous code."""
        return await BRIDGE.run_async(self._function(*args, **kwargs))


class Iteration(Generic[T]):
    """Items that come over time: for ``for`` and ``async for``."""

    def __init__(self, source: AsyncIterator[Any], *, wrapped: bool) -> None:
        self._source = source
        self._wrapped = wrapped

    def begin(self) -> Self:
        """Do now, and block for, what has to happen before the first item."""
        start = getattr(self._source, "start", None)
        if start is not None:
            BRIDGE.run(start())
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self._face(BRIDGE.run(_next(self._source)))
        except StopAsyncIteration:
            raise StopIteration from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        return self._face(await BRIDGE.run_async(_next(self._source)))

    def close(self) -> None:
        """End it before its last item."""
        BRIDGE.run(self._source.aclose())  # type: ignore[attr-defined]  # generators and watches have it

    async def aclose(self) -> None:
        """End it before its last item, for asynchronous code."""
        await BRIDGE.run_async(self._source.aclose())  # type: ignore[attr-defined]  # as above

    def _face(self, item: Any) -> T:
        return wrap(item) if self._wrapped else item  # type: ignore[no-any-return]  # the generator knows T


class BoundIteration(Generic[P, T]):
    # What `sandbox.watch` is. Blocking code gets an iteration that is on: what happens after the call is seen.

    __slots__ = ("__doc__", "_function", "_instance")

    def __init__(self, function: Callable[..., Iteration[T]], instance: object) -> None:
        self._function = function
        self._instance = instance
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iteration[T]:
        return self._function(self._instance, *args, **kwargs).begin()

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Iteration[T]:
        """The same for asynchronous code; it begins with the first item."""
        return self._function(self._instance, *args, **kwargs)


class iteration(Generic[S, P, T]):
    """Decorator of a method of a face that gives an :class:`Iteration`."""

    def __init__(self, function: Callable[Concatenate[S, P], Iteration[T]]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: S, owner: type) -> BoundIteration[P, T]: ...

    def __get__(self, instance: S | None, owner: type) -> Self | BoundIteration[P, T]:
        return self if instance is None else BoundIteration(self._function, instance)


class iteration_function(Generic[P, T]):
    """The same for a static method."""

    def __init__(self, function: Callable[P, Iteration[T]]) -> None:
        functools.update_wrapper(self, function)
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Iteration[T]:
        return self._function(*args, **kwargs).begin()

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Iteration[T]:
        """The same for asynchronous code."""
        return self._function(*args, **kwargs)


def next_item(impl: Any) -> Any:
    """The next item of an asynchronous iterator, for ``__next__``.

    An iterator with ``_ready`` (a deque) and ``_fill`` fetches many at once, and the loop is bothered only when none is ready.
    """
    ready = getattr(impl, "_ready", None)
    while ready is not None:
        try:
            return ready.popleft()
        except IndexError:
            if not BRIDGE.run(impl._fill()):
                raise StopIteration from None
    try:
        return BRIDGE.run(_next(impl))
    except StopAsyncIteration:
        raise StopIteration from None


async def next_item_async(impl: Any) -> Any:
    """The same for ``__anext__``."""
    ready = getattr(impl, "_ready", None)
    while ready is not None:
        try:
            return ready.popleft()
        except IndexError:
            if not await BRIDGE.run_async(impl._fill()):
                raise StopAsyncIteration from None
    return await BRIDGE.run_async(_next(impl))


def enter(impl: Any) -> None:
    """For ``__enter__``."""
    BRIDGE.run(impl.__aenter__())


async def enter_async(impl: Any) -> None:
    """For ``__aenter__``."""
    await BRIDGE.run_async(impl.__aenter__())


def leave(impl: Any, *error: Any) -> None:
    """For ``__exit__``."""
    BRIDGE.run(impl.__aexit__(*error))


async def leave_async(impl: Any, *error: Any) -> None:
    """For ``__aexit__``."""
    await BRIDGE.run_async(impl.__aexit__(*error))


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)
