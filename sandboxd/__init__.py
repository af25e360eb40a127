"""The node daemon: one actor per sandbox, and every kernel facility a sandbox needs."""

import os

# gRPC reads this when it is first imported. Its fork handlers are for forks that go on in Python; ours only start other programs, and each
# would be a line in the log.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
