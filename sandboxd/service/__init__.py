"""The node's edges: gRPC for router and SDK, HTTP for bulk transfers. They decode, authorise, call, and encode; decisions are elsewhere."""
