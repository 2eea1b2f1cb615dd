"""How good a model is on labelled texts, and how its probabilities become such that can be believed.

models        a model that is served, or an archive on this machine, judged on labelled texts
datasets      texts with their right labels, from CSV, JSON lines or Parquet
scores        logits and probabilities of many texts
evaluation    how good labels and probabilities are
comparison    two classifiers side by side
metrics/      figures: proper scores, calibration error, F1, confusion, intervals
calibration/  temperatures, thresholds and prediction sets, fitted on labelled texts
reports/      an evaluation as a page of HTML
"""

from .comparison import Comparison
from .datasets import Columns
from .metrics import Worst
from .models import Judged, Model, archived, check_apart, compare, judge, mistakes, served, worst

__all__ = [
    "Columns",
    "Comparison",
    "Judged",
    "Model",
    "Worst",
    "archived",
    "check_apart",
    "compare",
    "judge",
    "mistakes",
    "served",
    "worst",
]
