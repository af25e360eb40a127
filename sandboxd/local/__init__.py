"""cove on one machine: router and node as background processes, started, watched and stopped by ``cove up``, ``status`` and ``down``."""
