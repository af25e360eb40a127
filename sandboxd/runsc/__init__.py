"""gVisor's runsc behind the Runtime protocol. ``argv``, ``spec`` and ``parse`` are pure; ``run`` starts processes.

"Container" and "bundle" are words of this package; outside it there are sandboxes.
"""
