"""What encoders are made of, and what the positions of tokens do in them.

parts             where the parts of each layer are, and the order of its norms
positions         what the positions of tokens do to attention: distances, windows, angles
relative_encoder  DeBERTa's and MPNet's, whose attention knows distances, on texts in a row
"""

from .parts import NORMS, PRODUCTS, TILE, Columns, Parts, parts_of
from .positions import Absolute, ByBuckets, Relative, Rotary, knows_distances, sees_windows
from .relative_encoder import RelativeEncoder

__all__ = [
    "NORMS",
    "PRODUCTS",
    "TILE",
    "Absolute",
    "ByBuckets",
    "Columns",
    "Parts",
    "Relative",
    "RelativeEncoder",
    "Rotary",
    "knows_distances",
    "parts_of",
    "sees_windows",
]
