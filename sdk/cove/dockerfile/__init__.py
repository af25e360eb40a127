"""Dockerfiles: what they say, which files they need and what COPY does. Pure: no I/O; client and builder both use it.

::

    model         what a Dockerfile says, as values
    parser        text -> Dockerfile, by way of statements, words, flags, instructions, transfers, mounts, healthcheck
    expand        $VAR, quotes and escapes        scope    which variables there are at each instruction
    plan          which stages a target needs, and which files of the context
    partial       variables as far as they are known without the base image
    selection     which files of the context these are
    copy_rules    sources and destination -> which file goes where        globs    Go's filepath.Match
    run_script    what a RUN with heredocs gives to the shell
"""

from __future__ import annotations

from cove.dockerfile.parser import parse_commands, parse_dockerfile, stages_of_commands

__all__ = ["parse_commands", "parse_dockerfile", "stages_of_commands"]
