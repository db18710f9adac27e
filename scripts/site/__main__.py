"""Build the site of the documentation into build/site: `make docs`.

Each version has a folder of its own there, and those that are there already stay: to have several, build each release's
checkout into one folder (`--into`). Fails where a link is broken, a page is not in the index, a public name has no
docstring, or a page would load something from another host.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from time import perf_counter

from scripts.site import config, navigation, reference, versions
from scripts.site.checker import Site
from scripts.site.pages import Pages
from scripts.site.public import Package

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    options = _parser().parse_args()
    began = perf_counter()
    into: Path = options.into.resolve()
    version: str = options.version or _version()
    problems = build(into, version=version, url=options.url)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        print(f"The documentation has {len(problems)} problem(s); what was built is in {into}", file=sys.stderr)
        return 1
    site = into / "site" / version
    print(f"{len(list(site.rglob('*.html')))} pages of version {version} in {perf_counter() - began:.0f} s, in {site}")
    print(f"Open file://{site / 'index.html'}, or serve it: python -m http.server --directory {into / 'site'}")
    return 0


def build(into: Path, *, version: str, url: str) -> list[str]:
    """Returns what is wrong: the site is built all the same, as far as that goes."""
    into.mkdir(parents=True, exist_ok=True)
    pages, site = into / "pages", into / "site" / version
    # Pages that are no more would stay, and be found by a search.
    shutil.rmtree(site, ignore_errors=True)
    problems = Pages(ROOT, pages).write()
    shutil.copytree(config.ASSETS, pages / "assets")
    package = Package(ROOT)
    reference.write(package, pages)
    problems += [f"{name} has no docstring" for name in package.undocumented()]
    problems += [f"{name} has __all__, and no page: name it in scripts/site/public.py" for name in package.unlisted()]
    sections = navigation.sections(pages, package)
    problems += navigation.missing(pages, sections)
    file = into / "zensical.toml"
    config.write(file, root=ROOT, url=url, version=version, sections=sections)
    problems += _generate(file)
    versions.write(into / "site")
    return [*problems, *Site(site).problems()]


def _generate(file: Path) -> list[str]:
    """Run the generator. Without a cache, which would not see that the package has changed."""
    shutil.rmtree(file.parent / ".cache", ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--config-file", str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode or "Warning" in done.stdout:
        return [done.stdout.rstrip()]
    return []


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.site", description="Build the site of the documentation.")
    parser.add_argument(
        "--into", type=Path, default=ROOT / "build" / "docs", metavar="FOLDER", help="default: build/docs"
    )
    parser.add_argument("--version", help="default: that of the package")
    parser.add_argument(
        "--url", default="http://localhost", help="where the site will be, for llms.txt (default: http://localhost)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
