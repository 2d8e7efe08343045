"""The conversation with a person: goals and commands in, a few words out."""
