"""What stands between sandboxes and the outside and knows names: the resolver (``dns``) and the transparent relay (``relay``).

The packet filter (``sandboxd.network``) leads traffic here and decides by address; here it is decided by name.
"""

from sandboxd.egress.model import Attempt, Client, Gatekeeper
from sandboxd.egress.services import EgressServices, EgressSettings

__all__ = ["Attempt", "Client", "EgressServices", "EgressSettings", "Gatekeeper"]
