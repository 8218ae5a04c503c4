<%!
    import textwrap


    def sentence(message):
        """Return the message as a docstring of one line."""
        plain = message.replace("\\", "/").replace('"', "'") or "A change"
        line = textwrap.shorten(plain, 90, placeholder="...")
        return line[:1].upper() + line[1:] + ("" if line.endswith((".", "?", "!")) else ".")
%>\
"""${sentence(message)}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Apply the change."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Take the change back."""
    ${downgrades if downgrades else "pass"}
% for bind in binds:


def upgrade_${bind}() -> None:
    """Apply the change to this bind."""
    ${context.get(bind + "_upgrades", "") or "pass"}


def downgrade_${bind}() -> None:
    """Take the change to this bind back."""
    ${context.get(bind + "_downgrades", "") or "pass"}
% endfor
