"""The loop and the mind that speaks: graph, planner, critic, executor, learner; knows nothing of the CLI or of servers."""
