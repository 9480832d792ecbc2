"""The page of servers of other kinds."""

import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from familiar_models import fitted
from glass_subjects import model
from pages import save_named, visit
from served import Served
from vgglass import modelfile, workflows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_named(tmp_path_factory.mktemp("glass pages"))


@pytest.mark.slow
def test_a_server_with_a_token_asks_for_it(browser: Browser, folder: Path) -> None:
    secret = folder / "token"
    secret.write_text("a-token-of-23-letters..")
    with Served(folder, folder / "small.safetensors", "--token-file", secret) as server:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        for token in ("wrong-one-of-20-letters", secret.read_text()):
            page.wait_for_selector("#token")
            assert page.locator("#bars .class").count() == 0
            page.fill("#token input", token)
            page.click("#token button")
        page.wait_for_selector("#arithmetic[data-layer=conv1_1]")
        assert page.is_hidden("#token")
        page.close()


# Counts how often the form for the token is opened.
ASKED = """() => {
  window.asked = 0;
  const form = document.querySelector("#token form");
  new MutationObserver(() => form.hidden || window.asked++).observe(form, {attributeFilter: ["hidden"]});
}"""
TWICE = """async () => {
  const { fetchModel, fetchSample } = await import("/static/api.js");
  window.both = Promise.all([fetchModel(), fetchSample("temple")]);
}"""


@pytest.mark.slow
def test_two_requests_without_a_token_share_one_form(browser: Browser, folder: Path) -> None:
    """The token has changed while the page was open; both requests are answered after the right one."""
    secret = folder / "another-token"
    secret.write_text("a-token-of-23-letters..")
    with Served(folder, folder / "small.safetensors", "--token-file", secret) as server:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.fill("#token input", secret.read_text())
        page.click("#token button")
        page.wait_for_selector("#arithmetic[data-layer=conv1_1]")
        page.evaluate("sessionStorage.removeItem('token')")
        page.evaluate(ASKED)
        page.evaluate(TWICE)
        for token, forms in (("wrong-one-of-20-letters", 1), (secret.read_text(), 2)):
            page.wait_for_function("forms => window.asked === forms", arg=forms)
            page.fill("#token input", token)
            page.click("#token button")
        told = page.evaluate("window.both.then(([model, sample]) => [model.glass, sample.byteLength > 0])")
        assert told == [True, True]
        assert page.evaluate("window.asked") == 2, "one form for each token that was tried"
        assert page.is_hidden("#token form")
        page.close()


@pytest.mark.slow
def test_an_exported_graph_only_answers(browser: Browser, folder: Path) -> None:
    workflows.export(folder / "small.safetensors", folder / "graph.xml")
    with Served(folder, folder / "graph.xml") as server:
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/")
        expect(page.locator("#problem")).to_contain_text("An exported graph is served")
        page.set_input_files("#file", folder / "photo.jpg")
        (row,) = workflows.predict(folder / "small.safetensors", [folder / "photo.jpg"])
        expect(page.locator("#bars .class").first).to_have_text(row.top[0][0])
        assert not page.is_visible("#strip")
        page.close()


@pytest.mark.slow
def test_an_unfamiliar_image_is_said(browser: Browser, folder: Path) -> None:
    for least, said in ((1e-3, True), (1e3, False)):
        path = folder / "knowing.safetensors"
        modelfile.save(replace(fitted(modelfile.load(folder / "small.safetensors"), least), mapped=None), path)
        with Served(folder, path) as server:
            page = browser.new_page(locale="en-US")
            visit(page, server)
            page.set_input_files("#file", folder / "photo.jpg")
            expect(page.locator("#bars .class").first).to_be_visible()
            assert page.is_visible("#unfamiliar") == said
            expect(page.locator("#unfamiliar")).to_have_text(re.compile("Unfamiliar: this image is unlike those"))
            page.close()


@pytest.mark.slow
def test_a_reloaded_model_is_learned_anew(browser: Browser, folder: Path) -> None:
    """Its predecessor's images are dropped: the page sends its own again, and shows the new layers."""
    live = folder / "live.safetensors"
    live.write_bytes((folder / "small.safetensors").read_bytes())
    with Served(folder, live) as server:
        page = browser.new_page()
        visit(page, server)
        new = folder / "new.safetensors"
        modelfile.save(model("B", seed=3, classes=4), new)
        new.replace(live)
        server.process.send_signal(signal.SIGHUP)
        server.lines("model", 2)
        page.click('#strip a[data-layer="conv2_1"]')
        expect(page.locator('#strip a[data-layer="conv2_2"]')).to_have_count(1)
        expect(page.locator("#bars .class")).to_have_count(4)
        page.close()
