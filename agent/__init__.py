"""The loop and the mind that speaks: graph, planner, critic, executor, learner; knows no CLI, no server."""
