"""The resolver of sandboxes: names become addresses here, if the policy allows the name, and nothing else gets in or out by DNS."""
