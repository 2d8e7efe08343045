"""Gedanken inside somebody else's agent; knows the agent, and nothing of how it thinks."""
