"""What ragqa and a shell that completes its commands agree on."""

from __future__ import annotations

# Set by the shell when it wants to know what can follow.
VARIABLE = "_RAGQA_COMPLETE"
