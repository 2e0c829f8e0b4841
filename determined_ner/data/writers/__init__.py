"""Labelled text to files: what annotation tools import, and words with tags."""
