"""From method calls on an image to what a build needs. Nothing here talks to a server; files are read when an image is built, in a thread.

::

    text          texts of Dockerfile instructions that mean what they shall, whatever is in them
    recipe        an image as a value: base and steps
    packages      steps that install: pip, uv, apt, micromamba        projects    the same from pyproject.toml and lock files
    python        a step that brings Python
    local         steps that add files of this machine
    context       which files a Dockerfile needs                      dockerfile  steps of Dockerfile text
    hashes        sha256 of files, computed once                      definition  a recipe in the wire's form, and its files
"""
