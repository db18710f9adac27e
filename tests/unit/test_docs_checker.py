"""What fails the build of the site: broken links, foreign hosts, missing docstrings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest

from scripts.site import versions
from scripts.site.checker import Site
from scripts.site.pages import Pages
from tests.missing_programs import lacking

pytestmark = pytest.mark.unit


def site(folder: Path, **pages: str) -> Site:
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(body, encoding="utf-8")
    return Site(folder)


def test_a_link_to_a_page_and_its_heading_is_fine(tmp_path: Path) -> None:
    pages = {"one": '<a href="two.html#here">', "two": '<h2 id="here">', "three": '<a href="https://example.org/">'}

    assert site(tmp_path, **pages).problems() == []


@pytest.mark.parametrize("link", ["two.html", "one.html#there", "#there", "folder/"])
def test_a_link_that_leads_nowhere_is_told(tmp_path: Path, link: str) -> None:
    assert site(tmp_path, one=f'<a href="{link}">').problems() == [f"one.html links to {link}, which is not there"]


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://example.org/x.js"></script>',
        '<link rel="stylesheet" href="//example.org/x.css">',
        '<img src="http://example.org/x.png">',
    ],
)
def test_what_is_loaded_from_another_host_is_told(tmp_path: Path, tag: str) -> None:
    (problem,) = site(tmp_path, one=tag).problems()

    assert problem.startswith("one.html loads ")
    assert problem.endswith(" from another host")


def test_an_image_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert site(tmp_path, one='<img src="x.png">').problems() == ["one.html loads x.png, which is not there"]


def test_a_site_without_a_page_is_told(tmp_path: Path) -> None:
    assert site(tmp_path).problems() == [f"nothing was built in {tmp_path}"]


def repository(folder: Path, page: str) -> Path:
    (folder / "docs").mkdir()
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        (folder / name).write_text("# A page\n", encoding="utf-8")
    (folder / "worker.py").write_text("print('works')\n", encoding="utf-8")
    (folder / "docs" / "page.md").write_text(page, encoding="utf-8")
    return folder


def test_a_link_out_of_docs_leads_to_a_copy_of_the_file(tmp_path: Path) -> None:
    root = repository(tmp_path, "[worker](../worker.py), [readme](../README.md#a-page)")

    assert Pages(root, tmp_path / "pages").write() == []
    assert (tmp_path / "pages" / "page.md").read_text() == (
        "[worker](files/worker.py.md), [readme](project/readme.md#a-page)"
    )
    assert "print('works')" in (tmp_path / "pages" / "files" / "worker.py.md").read_text()


def test_a_link_out_of_docs_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    root = repository(tmp_path, "[worker](../wrker.py), [passwords](../../../etc/passwd)")

    assert [each.split(": ")[1].split()[0] for each in Pages(root, tmp_path / "pages").write()] == [
        "../wrker.py",
        "../../../etc/passwd",
    ]


def test_code_is_left_as_it_is(tmp_path: Path) -> None:
    page = "```python\nrows[0](../worker.py)\n```\n"
    root = repository(tmp_path, page)

    assert Pages(root, tmp_path / "pages").write() == []
    assert (tmp_path / "pages" / "page.md").read_text() == page


def test_what_has_no_docstring_is_told(tmp_path: Path) -> None:
    if find_spec("griffe") is None:
        lacking("the tools of the documentation are not installed: make docs")
    from scripts.site.public import Package

    (tmp_path / "counteract").mkdir()
    (tmp_path / "counteract" / "__init__.py").write_text(
        dedent('''
            """A package."""

            __all__ = ["Told", "bare"]


            class Told:
                """It is told."""

                field: int

                def method(self) -> None: ...

                @property
                def value(self) -> int:
                    return 1

                def _own(self) -> None: ...


            def bare() -> None: ...
        ''').lstrip()
    )
    package = Package(tmp_path, {"counteract": ()})

    assert sorted(package.undocumented()) == ["counteract.Told.method", "counteract.Told.value", "counteract.bare"]


def test_the_newest_version_comes_first(tmp_path: Path) -> None:
    for version in ("0.9.0", "0.10.0", "0.10.0rc1", "not-built"):
        (tmp_path / version).mkdir()
        if version != "not-built":
            (tmp_path / version / "index.html").write_text("")

    versions.write(tmp_path)

    page = (tmp_path / "index.html").read_text()
    assert page.index("0.10.0/") < page.index("0.10.0rc1/") < page.index("0.9.0/")
    assert "not-built" not in page
