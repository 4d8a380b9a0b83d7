"""What a user reads when something fails: one sentence, without a trace."""


class HarnessError(Exception):
    """A measurement that cannot be made; its text is one sentence: what, where, how to mend it."""
