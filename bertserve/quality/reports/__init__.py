"""An evaluation as one page of HTML that needs nothing else.

page        the page: figures, plots and tables
plots       as SVG that follows the page into light or dark mode
sentences   what it says, in plain words
"""

from .page import Other, Provenance, write_report

__all__ = ["Other", "Provenance", "write_report"]
