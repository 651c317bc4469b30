"""Sphinx settings: MyST pages, executed on the phantom data, offline, in temporary folders."""

import atexit
import os
import re
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

project = "medjax"
author = "The medjax developers"
copyright = "The medjax developers, Apache-2.0"
release = metadata.version("medjax")

extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
smartquotes = False  # they make one dash of the two before an option
html_theme = "furo"
html_title = f"medjax {release}"
html_show_sourcelink = False
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_show_tb = (
    True  # a failing cell is a warning with its traceback, and `make docs` fails on warnings
)
nb_execution_timeout = 300
nb_merge_streams = True

default_role = "code"  # docstrings write names in single backticks
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True


_ARRAY_LIKE = r"numpy\._typing\._array_like\._Buffer.*?_NestedSequence\[complex \| bytes \| str\]"


def shorten_signature(app, what, name, obj, options, signature, returns):
    """Write types as the source does: Array, ArrayLike. Leave out the arguments that Linen adds to a module.

    Settings are listed below their class, each with its default, so their class needs no signature.
    """
    if name.endswith("Config"):
        return "", None
    shown = re.sub(_ARRAY_LIKE, "ArrayLike", signature or "").replace("jaxlib._jax.Array", "Array")
    shown = re.sub(r", parent: .*", ")", shown)
    return shown or signature, returns and returns.replace("jaxlib._jax.Array", "Array")


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", shorten_signature)


_scratch = tempfile.mkdtemp(prefix="medjax-docs-")
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)
_profile = Path(_scratch, "ipython", "profile_default")
(_profile / "startup").mkdir(parents=True)
shutil.copy(Path(__file__).parent / "shell_cells.py", _profile / "startup")
(_profile / "ipython_kernel_config.py").write_text("c.Application.log_level = 'ERROR'\n")
# Inherited by the kernels. The programs that one page compiles are there for the next.
os.environ.update(
    JAX_PLATFORMS="cpu",
    JAX_COMPILATION_CACHE_DIR=f"{_scratch}/compiled",
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
    MEDJAX_CACHE_DIR=f"{_scratch}/cache",
    IPYTHONDIR=f"{_scratch}/ipython",
    JUPYTER_RUNTIME_DIR=f"{_scratch}/jupyter",
    PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # finds the command medjax
)
