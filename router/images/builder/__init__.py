"""Builds images: each layer of a definition in a sandbox of its own, whose files become the layer.

::

    keys        under which key a layer is found again (pure)
    order       what a caller asks for; turns among callers
    layers      a definition, layer by layer: what is cached, what has to be made
    bases       what layers stand on         pulls        those of it that come from registries
    stages      the stages of one layer's Dockerfile commands
    account     what instructions mean for later ones (pure)
    steps       one instruction after the other, in a workshop
    workshop    the sandbox that a stage is built in
    transfers   COPY: what goes where, as an archive
    ownership   --chown and --chmod
    additions   ADD: with archives and downloads
    items       what can be copied           stage_files  what comes from other sandboxes
    archives    what ADD unpacks             downloads    what ADD fetches
    mounts      RUN --mount
"""
