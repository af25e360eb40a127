"""The transparent relay: TCP connections of sandboxes whose policy has names, or a proxy, pass through it and must say the right name."""
