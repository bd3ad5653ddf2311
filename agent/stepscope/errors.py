# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can go wrong, in one line for a person."""


class StepscopeError(Exception):
    """Something that was asked for can't be done; the text says what was expected and what came."""


class SessionLost(StepscopeError):
    """The compositor went away, broke the protocol off or does not answer."""


class StaleObservationWarning(UserWarning):
    """Somebody keeps an observation longer than it is valid."""


class CompositorCrashWarning(RuntimeWarning):
    """A session's compositor has crashed, which close() tells: games may have lost what they had not
    saved."""
