"""Runs here end without the pictures of their report."""

from tests.no_pictures import no_pictures

__all__ = ["no_pictures"]
