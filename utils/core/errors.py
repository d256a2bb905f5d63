"""How commands report errors that a user can mend: the rule of `datasets.errors`."""

from datasets.errors import USER_ERROR, run_command

__all__ = ["USER_ERROR", "run_command"]
