"""The errors a user can cause, each with the exit code of the command-line contract."""


class UserError(Exception):
    """An error to show without a traceback: what was wrong, what was expected, what to type.

    Attributes:
        exit_code: the status with which the command line ends.
    """

    exit_code = 1


class ConfigError(UserError):
    """The config or the command line is wrong."""

    exit_code = 2


class DataError(UserError):
    """A data set is missing, incomplete or damaged."""

    exit_code = 3


class WorkdirError(UserError):
    """A checkpoint or a working directory is missing, damaged, or belongs to another run."""

    exit_code = 4


class NonFiniteError(UserError):
    """The loss or the state is no longer finite."""

    exit_code = 5


class Stopped(UserError):
    """The run was asked to stop, and is saved."""

    exit_code = 75
