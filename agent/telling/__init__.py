"""What people see of a run: the whole story, the world in colour, the part of a terminal that moves."""
