"""The version, where every package can import it from without importing the public API."""

__version__ = "0.1.0"
