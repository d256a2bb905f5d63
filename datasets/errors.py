"""The one class of errors that a user can mend."""


class UserError(Exception):
    """Input, options or files that cannot be used: the message names the file or option and the
    remedy. Commands print it and exit with `utils.core.errors.USER_ERROR`; any other exception is
    a bug and shows its traceback."""
