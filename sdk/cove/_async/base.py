"""What marks a class for the facade."""

from __future__ import annotations

from typing import Any, ClassVar


class Exposed:
    """Base of the classes that have a public face of the same name without the leading underscore.

    ``class _App(Exposed, constructor=True)`` lets users construct the face; the others come from methods only.
    """

    _constructor: ClassVar[bool] = False
    _face: Any = None
    """The face of this object once it has one, so that it has only one."""

    def __init_subclass__(cls, *, constructor: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._constructor = constructor


class Part:
    """Base of the classes in private modules that hold some of the methods of an exposed class, which derives from them.

    The exposed class's face has these methods like all others.
    """
