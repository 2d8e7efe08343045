"""What evaluations raise. Knows nothing else."""


class EvalError(RuntimeError):
    """An evaluation can't be run as asked; the message says what to do."""


class RunError(EvalError):
    """A run folder can't be used; the message says what to do."""
