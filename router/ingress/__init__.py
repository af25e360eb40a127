"""What passes through the router to sandboxes: bytes in both directions, looked at no more than routing needs."""
