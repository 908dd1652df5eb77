"""The library's version, kept in this one place (the build backend reads it from here)."""

__version__ = "0.1.0"
