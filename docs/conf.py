"""Sphinx settings of the site: `make docs`. See CONTRIBUTING.md for why these tools."""

import importlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# tqdm asks for ipywidgets, which a page without a kernel cannot use.
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
# Notebooks run in a process of their own.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))

project = "wsss-studies"
author = "the authors of wsss-studies"
copyright = author

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

# Single backticks in docstrings are names: a link where the site has the object, else code.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r"(?s).*"),
    # Types: no page of another project is fetched to link them, and some stay inside a package.
    ("py:class", r"(?s).*"),
    ("py:exc", r"torch\..*"),
]
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "groupwise"
autodoc_typehints_format = "short"
autodoc_use_type_comments = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_merge_streams = True

html_theme = "furo"
html_title = "wsss-studies"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

# `make linkcheck` asks the hosts of external links; the build itself asks nobody.
linkcheck_timeout = 20
linkcheck_retries = 2

# The packages load their names when they are first asked for; autodoc lists what is loaded.
for facade in sorted((Path(__file__).parent / "api").glob("*.rst")):
    module = importlib.import_module(facade.stem)
    for name in getattr(module, "__all__", ()):
        getattr(module, name)
