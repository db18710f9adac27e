"""The site of the documentation, built as `make docs` does, and looked at in a browser."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.missing_programs import lacking

pytestmark = [
    pytest.mark.integration,
    pytest.mark.program,
    # One that waits for the build has its time as well.
    pytest.mark.timeout(600),
]

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
VERSION = "1.2.3"
SEARCH = "[...document.querySelectorAll('div')].find(each => each.shadowRoot)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("zensical") is None:
        lacking("the tools of the documentation are not installed: make docs")
    from scripts.site.__main__ import build

    folder = tmp_path_factory.mktemp("docs")
    earlier = folder / "site" / "1.2.2"
    earlier.mkdir(parents=True)
    (earlier / "index.html").write_text("<!doctype html><title>Earlier</title>")
    assert build(folder, version=VERSION, url="http://localhost") == []
    return folder / "site"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        serving.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (BROWSER and DRIVER):
        lacking("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1400,1000",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def eventually(browser: Any, what: str, script: str, *arguments: Any) -> Any:
    """What the script returns, once that is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, 30).until(lambda it: it.execute_script(script, *arguments), what)


def search(browser: Any, words: str, *, wanted: str) -> None:
    """Type the words, and wait until the page that is wanted comes first."""
    from selenium.webdriver.common.action_chains import ActionChains

    eventually(browser, "there is no search", f"return {SEARCH}?.shadowRoot")
    browser.find_element("css selector", ".md-search__button").click()
    eventually(browser, "the search does not open", f"return {SEARCH}.shadowRoot.querySelector('dialog[open] input')")
    ActionChains(browser).send_keys(words).perform()
    first = f"{SEARCH}.shadowRoot.querySelector('a')?.href"
    eventually(browser, f"{words!r} does not find {wanted}", f"return {first}?.includes(arguments[0])", wanted)


def test_every_page_and_every_public_module_is_there(site: Path) -> None:
    from scripts.site.public import MODULES

    built = {str(each.relative_to(site / VERSION)) for each in (site / VERSION).rglob("*.html")}

    assert {f"reference/{module}.html" for module in MODULES} <= built
    assert {"index.html", "tutorial.html", "how-to/production.html", "project/readme.html"} <= built


def test_a_program_finds_its_way_by_llms_txt(site: Path) -> None:
    text = (site / VERSION / "llms.txt").read_text(encoding="utf-8")

    assert "tutorial.md" in text
    assert (site / VERSION / "tutorial.md").read_text(encoding="utf-8").startswith("# Your first saga")


def test_a_page_shows_without_an_error(address: str, browser: Any) -> None:
    browser.get(f"{address}/{VERSION}/reference/counteract.store.html")

    assert eventually(browser, "no heading", "return document.querySelector('h1')?.innerText").startswith(
        "counteract.store"
    )
    assert browser.find_element("id", "counteract.store.PostgresEventStore.append").is_displayed()
    assert [each["message"] for each in browser.get_log("browser") if each["level"] == "SEVERE"] == []


def test_another_version_can_be_chosen(address: str, browser: Any) -> None:
    browser.get(f"{address}/{VERSION}/index.html")

    shown = eventually(
        browser,
        "no other version is offered",
        "const f = [...document.querySelectorAll('.md-version__link')].map(e => e.href); return f.length ? f : null",
    )
    assert f"{address}/1.2.2/" in shown


def test_it_can_be_dark(address: str, browser: Any) -> None:
    browser.get(f"{address}/{VERSION}/index.html")
    background = "return getComputedStyle(document.body).backgroundColor"
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    )
    light = browser.execute_script(background)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )

    eventually(browser, "it stays light", f"{background} !== arguments[0]", light)


@pytest.mark.parametrize("opened", ["from a server", "from a file"])
def test_it_can_be_searched(opened: str, address: str, site: Path, browser: Any) -> None:
    browser.get(f"{address if opened == 'from a server' else site.as_uri()}/{VERSION}/index.html")

    search(browser, "forget a person", wanted="how-to/personal-data.html")
