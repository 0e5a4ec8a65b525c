"""Results for people: tables, figures, files."""

from rnnjax._files import write_json
from rnnjax.report._figures import write_figures
from rnnjax.report._table import comparison_table

__all__ = ["comparison_table", "write_figures", "write_json"]
