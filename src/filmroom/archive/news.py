"""What nodes tell each other, so that none goes on with what another has changed.

Told with the change itself (`Index.listen`) and only for what is rare; stored instances are not.
It may get lost on the way: whoever listens also looks now and then.
"""

from __future__ import annotations

from enum import StrEnum


class News(StrEnum):
    """The topics; the payload is a SOP Instance UID unless said otherwise."""

    REPLACED = "instance-replaced"
    MARKED = "instance-marked"  # as damaged
    RESTORED = "instance-restored"  # it is not marked any more
    ACCOUNTS = "accounts-changed"  # no payload
    CREDENTIALS = "credentials-ended"  # no payload: sessions or tokens
    PEERS = "peers-changed"  # no payload
    JOBS = "jobs-waiting"  # no payload: there is something to do
    LOST_TOUCH = "lost-touch"  # no payload: something may have been missed
