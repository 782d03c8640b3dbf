"""Agents at work on a task: the feed of an instance, its open unit, what it emits and keeps."""
