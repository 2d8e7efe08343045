"""Gedanken: a planning agent that rehearses its plans in a learned world model before it acts."""
