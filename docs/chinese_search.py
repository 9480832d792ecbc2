"""Search in Chinese without a dictionary: words are pairs of neighbouring characters, in the index and in the query."""

import re

from sphinx.search import SearchLanguage

RUN = re.compile(r"[\u4e00-\u9fff]+|[A-Za-z0-9_]+")


class Chinese(SearchLanguage):
    """Sphinx's own splitter needs jieba, and without it indexes no Chinese."""

    lang = "zh"
    language_name = "Chinese"
    js_splitter_code = """
function splitQuery(query) {
  const words = [];
  for (const run of query.match(/[\\u4e00-\\u9fff]+|[A-Za-z0-9_]+/g) ?? []) {
    if (/[A-Za-z0-9_]/.test(run) || run.length < 3) words.push(run);
    else for (let i = 0; i + 1 < run.length; i++) words.push(run.slice(i, i + 2));
  }
  return words;
}
"""

    def split(self, input: str) -> list[str]:  # noqa: A002
        words = []
        for run in RUN.findall(input):
            if run[0] < "\u4e00":
                words.append(run)
            else:
                words += [*run, *(run[at : at + 2] for at in range(len(run) - 1))]
        return words

    def stem(self, word: str) -> str:
        return word.lower()

    def word_filter(self, word: str) -> bool:
        return bool(word)
