"""The one exception a user sees for bad input."""


class InputError(ValueError):
    """Bad input: one clear sentence naming what was wrong and, where there are any, the valid choices."""
