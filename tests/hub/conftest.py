"""The stand-in of the hub, for all tests of the room."""

from tests.hub.standin import hub

__all__ = ["hub"]
