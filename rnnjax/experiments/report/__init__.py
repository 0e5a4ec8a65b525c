"""Results for people: tables, figures, files."""

from rnnjax._files import write_json
from rnnjax.experiments.report._captions import CaptionRow, write_captions
from rnnjax.experiments.report._curves import RunCurve, write_curves
from rnnjax.experiments.report._figures import write_figures
from rnnjax.experiments.report._table import comparison_table

__all__ = [
    "CaptionRow",
    "RunCurve",
    "comparison_table",
    "write_captions",
    "write_curves",
    "write_figures",
    "write_json",
]
