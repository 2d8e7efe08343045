"""What is learned about a world: dynamics, controller, imagination, experience; knows nothing of language models."""
