"""What all methods that add a step to an image have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from cove import _spec
from cove._async.base import Part
from cove._async.secret import _Secret
from cove._image.recipe import Draft, Recipe, Step

if TYPE_CHECKING:
    from cove._async.image import _Image

Env = Mapping[str, str | None]
Secrets = Collection[_Secret]
Gpu = str | Sequence[str | None]


class Steps(Part):
    """An image that steps can be added to. It is a value: each step gives another image."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def _then(
        self,
        method: str,
        draft: Callable[[], Draft],
        *,
        env: Env | None = None,
        secrets: Secrets | None = None,
        gpu: Gpu | None = None,
        force_build: bool = False,
        at_start: bool = False,
    ) -> _Image:
        """The image with a step more.

        Args:    env: wins over ``secrets`` where both have a variable.
        """
        _spec.refuse(f"Image.{method}", gpu=gpu)
        plain = _spec.environment(env, ())
        secret = _spec.environment(None, [one.variables for one in secrets or ()])
        step = Step(
            method,
            draft,
            env=plain,
            secrets={name: value for name, value in secret.items() if name not in plain},
            force_build=force_build,
            at_start=at_start,
        )
        return cast("_Image", type(self)(self._recipe.then(step)))

    def _same(self) -> _Image:
        """This image: a method was asked to add nothing."""
        return cast("_Image", self)
