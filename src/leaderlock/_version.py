"""The version, read by the build and by ``leaderlock --version``."""

__version__ = "0.1.0"
