"""The site: `python -m sphinx -W --keep-going docs docs/_build/html`."""

import os
import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]
# The notebooks run in processes of their own: on this source, and with the same output everywhere.
os.environ["PYTHONPATH"] = f"{HERE.parent}:{os.environ.get('PYTHONPATH', '')}"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Whether this is a check rather than a site for readers.
CHECK = "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ
if CHECK and version_of("jaxlib").startswith("0.10."):
    # As in tests/conftest.py, half the time to compile; and a program in one piece takes less than
    # the pieces of it that would be compiled side by side.
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
        " --xla_cpu_parallel_codegen_split_count=1"
    )

from inventories import write_inventories  # noqa: E402

import rnnjax  # noqa: E402

project = "rnnjax"
author = "the authors of rnnjax"
project_copyright = "the authors of rnnjax"
release = version = rnnjax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "api",
    "docstrings",
    "links",
    "files",
    "illustrations",
]
exclude_patterns = ["_build", "extensions", "inventories", "static", "figures"]

# Markdown and notebooks. The plain Python blocks of pages are run by tests/docs.
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline", "html_image"]
myst_heading_anchors = 4
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / "notebooks")
nb_execution_timeout = 120
# In a check one notebook stands for all: tests/docs/test_tutorials.py runs the code of each.
nb_execution_excludepatterns = [
    f"tutorials/{page.name}"
    for page in (HERE / "tutorials").glob("*.md")
    if CHECK and page.stem != "lengths_resets_and_carries"
]
suppress_warnings = ["myst-nb.lexer"] if CHECK else []  # without a kernel, of what is not run
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# The reference, from docstrings.
autodoc_typehints = "none"  # they are in the signature already, as the source writes them
autodoc_member_order = "bysource"
napoleon_use_param = False
napoleon_use_rtype = False
napoleon_use_admonition_for_examples = False
python_maximum_signature_line_length = 76
add_module_names = False
toc_object_entries_show_parents = "hide"
intersphinx_mapping = write_inventories(HERE / "inventories", HERE / "_build" / "inventories")


def repository() -> str | None:
    """Where the source is published: what the environment says, else git's origin on the web."""
    if "RNNJAX_REPOSITORY" in os.environ:
        return os.environ["RNNJAX_REPOSITORY"].removesuffix("/") or None
    command = ["git", "-C", str(HERE), "config", "--get", "remote.origin.url"]
    try:
        found = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return None
    found = found.removesuffix(".git").replace("git@github.com:", "https://github.com/")
    return found if found.startswith("https://") else None


html_theme = "sphinx_book_theme"
html_title = "rnnjax"
html_static_path = ["static"]
html_context = {"default_mode": "auto"}
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_favicon = "static/favicon.svg"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "path_to_docs": "docs",
    "show_toc_level": 2,
    "toc_title": "On this page",
    "home_page_in_toc": False,
    "use_download_button": False,
    "navbar_persistent": [],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
if url := repository():
    html_theme_options |= {
        "repository_url": url,
        "repository_branch": "main",
        "use_repository_button": True,
        "use_edit_page_button": True,
        "use_issues_button": True,
    }
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
