"""Is this machine fit for cove? Checks that each give a fact, or a cause with its remedy.

``cove doctor`` shows them all; the daemon refuses to start on the hard ones that fail, with the same text.
"""

from sandboxd.doctor.checks import Finding, Status, examine, hard_failures

__all__ = ["Finding", "Status", "examine", "hard_failures"]
