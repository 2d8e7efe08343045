"""Suites, runner, statistics and report: how well the agent does, measured; knows nothing of how it is shown."""
