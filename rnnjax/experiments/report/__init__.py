"""Reports: tables, figures and JSON files of results."""

from rnnjax._files import write_json
from rnnjax.experiments.report._captions import CaptionRow, write_captions
from rnnjax.experiments.report._curves import RunCurve, write_curves
from rnnjax.experiments.report._figures import write_figures
from rnnjax.experiments.report._style import LOOKS, new_figure, style
from rnnjax.experiments.report._table import comparison_table

__all__ = [
    "LOOKS",
    "CaptionRow",
    "RunCurve",
    "comparison_table",
    "new_figure",
    "style",
    "write_captions",
    "write_curves",
    "write_figures",
    "write_json",
]
