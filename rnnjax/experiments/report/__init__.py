"""Reports: tables, figures and JSON files of results."""

from rnnjax._files import write_json
from rnnjax.experiments.report._captions import CaptionRow, write_captions
from rnnjax.experiments.report._clipping import write_clipping, write_surface
from rnnjax.experiments.report._curves import RunCurve, write_curves
from rnnjax.experiments.report._eigenvalues import write_eigenvalues
from rnnjax.experiments.report._exponents import write_exponents
from rnnjax.experiments.report._figures import write_figures
from rnnjax.experiments.report._fixed_points import write_fixed_points
from rnnjax.experiments.report._flow_lines import (
    write_clipped_steps,
    write_norms,
    write_ratios,
    write_truncation,
)
from rnnjax.experiments.report._flow_panels import (
    write_paths,
    write_sensitivity,
    write_singular_values,
)
from rnnjax.experiments.report._lines import Key, add_legend, say
from rnnjax.experiments.report._precision import write_precision
from rnnjax.experiments.report._predictability import write_predictability
from rnnjax.experiments.report._style import LOOKS, PAGE, new_figure, style, write_figure
from rnnjax.experiments.report._table import comparison_table
from rnnjax.experiments.report._watch import write_watch
from rnnjax.experiments.report._words import cell_label

__all__ = [
    "LOOKS",
    "PAGE",
    "CaptionRow",
    "Key",
    "RunCurve",
    "add_legend",
    "cell_label",
    "comparison_table",
    "new_figure",
    "say",
    "style",
    "write_captions",
    "write_clipped_steps",
    "write_clipping",
    "write_curves",
    "write_eigenvalues",
    "write_exponents",
    "write_figure",
    "write_figures",
    "write_fixed_points",
    "write_json",
    "write_norms",
    "write_paths",
    "write_precision",
    "write_predictability",
    "write_ratios",
    "write_sensitivity",
    "write_singular_values",
    "write_surface",
    "write_truncation",
    "write_watch",
]
