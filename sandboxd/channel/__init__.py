"""The host side of the guest protocol (docs/guest-protocol.md).

``fields``, ``frames``, ``messages`` and ``session`` are pure: bytes in, events out. ``link`` moves bytes over the two FIFOs,
``client`` offers what a guest can do as coroutines. Every byte that comes from the guest is checked in the pure part.
"""
