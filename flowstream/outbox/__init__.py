"""Databases that topics are written into, exactly once."""
