"""Dockerfiles: what they say, which files they need and what COPY does. Pure: no I/O; client and builder both use it.

::

    model         what a Dockerfile says, as values
    parser        text -> Dockerfile, by way of statements, words, flags, instructions, transfers, mounts, healthcheck
    expand        $VAR, quotes and escapes        scope    which variables there are at each instruction
    plan          which stages a target needs, and which files of the context
    git_sources   repositories as sources of ADD
    partial       variables as far as they are known without the base image
    selection     which files of the context these are
    copy_rules    sources and destination -> which file goes where
    globs, ignore patterns over paths: Go's filepath.Match, and .dockerignore
    run_script    what a RUN with heredocs gives to the shell

The parser is loaded on first use: who only matches patterns need not wait for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cove.dockerfile.parser import parse_commands, parse_dockerfile, stages_of_commands

__all__ = ["parse_commands", "parse_dockerfile", "stages_of_commands"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("cove.dockerfile.parser"), name)
    raise AttributeError(f"module 'cove.dockerfile' has no attribute {name!r}")
