"""Build the site and the notebooks: pairs of pages in, HTML and .ipynb in two languages out.

A page is a pair, X.md in English and X.zh-CN.md in Chinese. Its code stands once, in X.md; a line '% cell' of
X.zh-CN.md stands for the next of its cells. (Sphinx's own translation, by .po files, changes the parsed document and
not its source: notebooks for download would stay English.) A line '% commands' or '% python' stands for what
`reference` writes.

    python docs/build.py OUT [PAGE ...]     PAGE: course/02-convolution; without: all

OUT/html/{en,zh} is the site, OUT/notebooks/{en,zh} the notebooks, without outputs.
"""

import copy
import os
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.cmd.build import build_main
from traitlets.config import Config

import reference
from vgglass import course

DOCS = Path(__file__).parent
LANGUAGES = {"en": ".md", "zh": ".zh-CN.md"}
LOCALES = {"en": "C.UTF-8", "zh": "zh_CN.UTF-8"}  # what `vgglass.locale.language` reads
CELL = re.compile(r"^```\{code-cell\}\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"^% cell\n", re.MULTILINE)
GENERATED = re.compile(r"^% (commands|python)\n", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+?)(?:\.zh-CN)?\.md(#[^)]*)?\)")
OTHER = re.compile(r" ?\[(?:中文|English)\]\([^)]*\)\n?")  # the sidebar has that link
SECONDS = 600  # the longest that one cell may take, on a busy machine


@dataclass(frozen=True)
class Page:
    """One page in one language: prose and code cells by turns, beginning and ending with prose."""

    name: str
    prose: list[str]
    cells: list[str]


def names() -> list[str]:
    """Return every page's name: its path below docs/ without a suffix."""
    found = (path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if not path.name.endswith(".zh-CN.md"))
    return sorted(name.removesuffix(".md") for name in found)


def read(name: str, language: str) -> Page:
    """Read a page; in Chinese with the cells of the English one."""
    english = (DOCS / f"{name}.md").read_text("utf-8")
    cells = [found[1].rstrip("\n") for found in CELL.finditer(english)]
    if language == "en":
        return Page(name, CELL.sub("% cell\n", english).split("% cell\n"), cells)
    return Page(name, PLACE.split((DOCS / f"{name}{LANGUAGES[language]}").read_text("utf-8")), cells)


def linked(text: str, name: str) -> str:
    """Point links between pages at what the builder makes of them."""

    def target(found: re.Match[str]) -> str:
        place = (DOCS / name).parent / f"{found[1]}.md"
        if not place.exists():  # of the repository, not of the site
            return found[0]
        suffix = ".ipynb" if CELL.search(place.read_text("utf-8")) else ".md"
        return f"]({found[1]}{suffix}{found[2] or ''})"

    return LINK.sub(target, OTHER.sub("", text))


def notebook(page: Page, language: str) -> NotebookNode:
    """Return a page as a notebook without outputs, whose commands speak the page's language."""
    cells = [new_code_cell(f"%env LC_ALL={LOCALES[language]}", id="language", metadata={"tags": ["remove-cell"]})]
    for number, prose in enumerate(page.prose):
        if text := linked(prose, page.name).strip():
            cells.append(new_markdown_cell(text, id=f"text-{number}"))
        if number < len(page.cells):
            cells.append(new_code_cell(page.cells[number], id=f"cell-{number}"))
    cells[0], cells[1] = cells[1], cells[0]  # the title stays first
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def execute(page: Page, blank: NotebookNode, folder: Path) -> NotebookNode:
    """Run a notebook's cells in a folder. An error, a failed assertion or a warning ends the build."""
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm, by way of captum, would like ipywidgets
    with TemporaryDirectory() as sockets:  # no port that others could reach
        config = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
        at = {"metadata": {"path": str(folder)}}
        done = NotebookClient(copy.deepcopy(blank), config=config, timeout=SECONDS, resources=at).execute()
    for cell in done.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                raise SystemExit(f"{page.name}: {cell.id} writes to standard error:\n{output.text}")
    return done


def write(name: str, language: str, out: Path) -> None:
    """Write one page as Sphinx reads it; of one with cells its notebook too."""
    page = read(name, language)
    if len(page.prose) != len(page.cells) + 1:
        raise SystemExit(
            f"{name}{LANGUAGES[language]}: {len(page.prose) - 1} cells for the {len(page.cells)} of {name}.md"
        )
    source = out / "source" / language / name
    source.parent.mkdir(parents=True, exist_ok=True)
    if not page.cells:
        text = GENERATED.sub(lambda found: reference.WRITERS[found[1]](), page.prose[0])
        source.with_suffix(".md").write_text(linked(text, name), "utf-8")
        return
    print(f"{name} ({language})", flush=True)
    blank, work = notebook(page, language), out / "work" / language
    work.mkdir(parents=True, exist_ok=True)
    place = out / "notebooks" / language / f"{name}.ipynb"
    place.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(blank, place)
    executed = execute(page, blank, work)
    executed.cells[-1:] = [*executed.cells[-1:], new_markdown_cell(reference.download(name, language), id="download")]
    nbformat.write(executed, source.with_suffix(".ipynb"))


def build(out: Path, chosen: list[str]) -> int:
    """Build everything, or the chosen pages and those that run nothing. Returns the exit status."""
    shutil.rmtree(out, ignore_errors=True)
    course.model()  # trained before both languages ask for it
    with ProcessPoolExecutor(len(LANGUAGES), get_context("spawn")) as pool:
        states = list(pool.map(partial(build_language, out, chosen), LANGUAGES))
    shutil.copy(DOCS / "static" / "first.html", out / "html" / "index.html")
    return max(states)


def build_language(out: Path, chosen: list[str], language: str) -> int:
    """Build the pages of one language. Returns the exit status."""
    for name in names():
        if not chosen or name in chosen or not read(name, language).cells:
            write(name, language, out)
    pages = out / "source" / language
    shutil.copytree(out / "notebooks" / language, pages / "notebooks")
    strict = [] if chosen else ["--fail-on-warning", "--nitpicky"]
    options = ["--keep-going", "--quiet", "-b", "html", "-c", str(DOCS), "-d", str(out / f"doctrees-{language}")]
    code = "zh_CN" if language == "zh" else language
    return build_main([*strict, *options, "-D", f"language={code}", str(pages), str(out / "html" / language)])


def paragraphs(page: Page) -> Iterator[str]:
    """Yield a page's blocks of prose, without code blocks."""
    for prose in page.prose:
        for block in re.sub(r"^```.*?^```$", "", prose, flags=re.MULTILINE | re.DOTALL).split("\n\n"):
            if block.strip():
                yield block.strip()


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]), sys.argv[2:]))
