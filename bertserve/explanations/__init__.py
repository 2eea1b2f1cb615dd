"""Which words carried a prediction, shown to people.

words       texts in pieces, and how strong each is
html_page   the whole as a page of HTML
"""

from .html_page import page
from .words import full_strength, parts, remark

__all__ = ["full_strength", "page", "parts", "remark"]
