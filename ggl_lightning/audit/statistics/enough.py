"""How many private images it takes before anything is judged, in one place for all who judge."""

from __future__ import annotations

LEAST_IMAGES = 6
"""Private images below which nothing is judged: no test could tell a leak from chance."""


def too_few(count: int) -> str | None:
    """Why numbers of so many private images are not judged; None if there are enough."""
    if count >= LEAST_IMAGES:
        return None
    noun = "image" if count == 1 else "images"
    return f"of {count} private {noun} nothing can be told; {LEAST_IMAGES} are needed"
