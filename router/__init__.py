"""Control plane and edge. Speaks to nodes only over the wire: never imports sandboxd."""
