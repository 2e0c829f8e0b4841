"""What a user did wrong, as opposed to what we did wrong (which is an assert)."""


class UserError(Exception):
    """A mistake in the settings, the data or the machine that its owner can mend.

    The message names the offending value, where it stands (``file:line`` or the setting's dotted name) and
    what to write instead. Commands print it alone, without a traceback, and end with exit status 2.
    """
