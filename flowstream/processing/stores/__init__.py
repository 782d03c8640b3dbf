"""Stores on this machine, brought to where their changelogs are before tasks run on them."""
