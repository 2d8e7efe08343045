"""Adapters from real environments to the World contract; knows nothing of models or agents."""
