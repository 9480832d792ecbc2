"""Sphinx's settings for the pages that build.py writes."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
import vgglass
from chinese_search import Chinese

project, copyright = "vgglass", "the vgglass authors, Apache-2.0"  # noqa: A001
release = version = vgglass.__version__
extensions = ["myst_nb", "sphinx_copybutton"]
nb_execution_mode = "off"  # build.py has executed them
nb_merge_streams = True
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
html_theme = "furo"
html_title = "vgglass"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = html_copy_source = False
templates_path = ["templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "language.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_theme_options: dict[str, list[str]] = {"top_of_page_buttons": []}
exclude_patterns = ["notebooks"]


def setup(app: Sphinx) -> None:
    app.add_search_language(Chinese)
