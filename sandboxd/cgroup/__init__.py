"""Control groups: one a sandbox, below one that holds all sandboxes of the node together."""

from sandboxd.cgroup.groups import Cgroups

__all__ = ["Cgroups"]
