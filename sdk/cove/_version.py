"""The version of this distribution, also told to the server."""

__version__ = "0.1.0"
