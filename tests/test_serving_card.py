"""The served model's card: what is beside the model file and nothing else, behind the token, as a page and in one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from glass_subjects import model
from pages import watched
from served import Served
from vgglass import modelfile
from vgglass.evaluation import card

TOKEN = {"Authorization": "Bearer a-long-secret-of-a-test"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("card")
    (folder / "token").write_text("a-long-secret-of-a-test")
    record = modelfile.save(model("A-LRN"), folder / "small.safetensors")
    card.write(card.Subject("small.safetensors", record, drift=False), folder)
    mine = (folder / "card.md").read_text().replace("*Not written", "<b>For</b> apples.\n\n*Not written")
    (folder / "card.md").write_text(mine)
    with Served(folder, folder / "small.safetensors", "--token-file", folder / "token") as server:
        yield server
        assert server.stop() == 0


@pytest.fixture
def folder(server: Served) -> Path:
    return server.log.parent


def test_the_card_is_given_with_the_token_alone(server: Served) -> None:
    assert server.ask("GET", "/card").status == 401
    reply = server.ask("GET", "/card?lang=zh", headers=TOKEN)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert '<html lang="zh-CN">' in reply.body.decode()
    assert "<h1>模型卡：small.safetensors</h1>" in reply.body.decode()
    english = server.ask("GET", "/card", headers=TOKEN).body.decode()
    assert "&lt;b&gt;For&lt;/b&gt; apples." in english
    assert "<b>" not in english
    assert server.ask("GET", "/card?lang=../../x", headers=TOKEN).status == 422


@pytest.mark.parametrize(
    ("contents", "said"),
    [(None, "is not beside the model file"), (b"\xff\xfe", "can't be read"), (b" " * (card.LARGEST + 1), "is larger")],
)
def test_a_card_that_is_not_there_is_404(server: Served, folder: Path, contents: bytes | None, said: str) -> None:
    kept = shutil.move(folder / "card.zh.md", folder / "kept")
    try:
        if contents is not None:
            (folder / "card.zh.md").write_bytes(contents)
        reply = server.ask("GET", "/card?lang=zh", headers=TOKEN)
        assert reply.status == 404
        assert said in reply.json["error"]
        assert str(folder) not in reply.json["error"], "where it lies is no client's concern"
    finally:
        shutil.move(kept, folder / "card.zh.md")


@pytest.mark.slow
def test_the_page_opens_it_with_the_token(server: Served, browser: Browser) -> None:
    with watched(browser, server) as page:
        page.add_init_script("sessionStorage.setItem('token', 'a-long-secret-of-a-test')")
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.click("#info")
        page.click("model-card a:not([hidden])")
        assert page.inner_text("dialog[open] h1") == "Model card: small.safetensors"
        assert "<b>For</b> apples." in page.inner_text("dialog article")
        page.click("dialog button")
        assert page.query_selector("dialog[open]") is None
        page.click("#language")
        page.click("model-card a")
        page.wait_for_selector("dialog[open] h1:has-text('模型卡')")
