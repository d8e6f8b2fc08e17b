"""The exception tree: what a user can do wrong, each as one line with the value, the limit and the remedy.

    InkfishError
    ├── SettingError        a parameter outside its limits, or two that exclude each other
    │   └── ContextError    prompt and wanted tokens do not fit the model's context
    ├── ModelError          a model folder that is missing, damaged or not a GPT-2
    ├── TokenizerError      a vocabulary that is damaged, or text that is not valid Unicode
    ├── DataError           training or input data that can't be read, or is empty
    ├── RunError            a run folder that is locked, damaged, or does not fit the settings
    ├── MissingExtraError   a feature whose optional packages are not installed
    └── NetworkError        a download that failed or is switched off

A programmer's error is an `assert` with a sentence, never one of these. What works, but badly, is a warning.
"""

from __future__ import annotations

__all__ = [
    "ContextError",
    "DataError",
    "InkfishError",
    "MissingExtraError",
    "ModelError",
    "NetworkError",
    "RunError",
    "SettingError",
    "SlowBackendWarning",
    "TokenizerError",
]


class InkfishError(Exception):
    """A user's error; `str(error)` is one line. The command line prints it and exits with 2."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        """The name of the setting or field at fault, where there is one."""


class SettingError(InkfishError):
    """A parameter outside its limits, or two that exclude each other."""


class ContextError(SettingError):
    """Prompt and wanted tokens do not fit the model's context."""


class ModelError(InkfishError):
    """A model folder that is missing, damaged or not a GPT-2."""


class TokenizerError(InkfishError):
    """A vocabulary that is damaged, or text that is not valid Unicode."""


class DataError(InkfishError):
    """Training or input data that can't be read, or is empty."""


class RunError(InkfishError):
    """A run folder that is locked by another process, damaged, or does not fit the settings."""


class MissingExtraError(InkfishError):
    """A feature whose optional packages are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra [{extra}]: pip install 'inkfish[{extra}]'")


class NetworkError(InkfishError):
    """A download that failed or is switched off."""


class SlowBackendWarning(UserWarning):
    """The native back end was not built, and the numpy reference does its work."""
