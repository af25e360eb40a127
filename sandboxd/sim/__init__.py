"""Simulated containers for tests and for load on the router: no root, no kernel, no isolation, and no user code either.

``runtime`` is the Runtime protocol over a :class:`~sandboxd.sim.runtime.SimMachine`; ``guest`` speaks the guest protocol; ``programs`` are
the few commands a simulated sandbox knows. tests/conformance holds it to the same suite as runsc.
"""
