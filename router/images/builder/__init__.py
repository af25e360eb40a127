"""Builds images: each layer of a definition in a sandbox of its own, whose files become the layer.

::

    keys      under which key a layer is found again (pure)
    builds    one build for all who ask for the same; events for each
    layers    a definition, layer by layer: what is cached, what has to be made
    pulls     bases that come from registries
    stages    the stages of one layer's Dockerfile commands
    steps     one instruction after the other, in a workshop
    transfers COPY and ADD as archives
    workshop  the sandbox that a stage is built in
"""
