"""ragqa: answers from your own documents, on your own machine.

>>> from ragqa import Pipeline
>>> Pipeline.from_config("default", db="notes.db").ask("How warm is green tea steeped?").text
'Green tea is steeped at **70 degrees** for two minutes. [1]'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragqa.pipeline import Pipeline

__all__ = ["Pipeline", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load `Pipeline` on first use, so that importing ragqa costs nothing."""
    if name == "Pipeline":
        from ragqa.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module 'ragqa' has no attribute {name!r}")
