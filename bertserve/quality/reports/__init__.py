"""An evaluation as one page of HTML that needs nothing else.

judged      of a model that was judged
page        the page: figures, plots and tables
plots       as SVG that follows the page into light or dark mode
sentences   what it says, in plain words
"""

from .judged import report_of
from .page import Other, Provenance, write_html, write_report

__all__ = ["Other", "Provenance", "report_of", "write_html", "write_report"]
