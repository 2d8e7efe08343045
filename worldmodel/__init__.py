"""Everything learned about a world: dynamics, controller, imagination, training, experience; knows nothing of language models."""
