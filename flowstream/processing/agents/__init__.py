"""Agents as an app declares them, and what reaches them: channels, requests, sends."""
