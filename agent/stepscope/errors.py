# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can go wrong, in one line for a person."""


class StepscopeError(Exception):
    """Something that was asked for can't be done; the text says what was expected and what came."""


class SessionLost(StepscopeError):
    """The compositor went away, broke the protocol off or does not answer."""


class StaleObservationWarning(UserWarning):
    """Somebody keeps an observation longer than it is valid."""


class CompositorCrashWarning(RuntimeWarning):
    """A session's compositor died of itself as the session ended: what it was to leave behind (a
    game that ended in order, a removed folder) may be missing."""
