"""The page before the versions: which there are, the newest first, and which of them the site shows beside its name."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Counteract: versions of the documentation</title>
<style>
  :root {{ color-scheme: light dark; font: 1rem/1.6 system-ui; }}
  body {{ max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}
</style>
<h1>Counteract</h1>
<p>The documentation of each version:</p>
<ul>
{entries}
</ul>
"""


def write(site: Path) -> None:
    """Write the page, and the list that the pages of each version choose from, for the folders that are there."""
    found = sorted((each.name for each in site.iterdir() if (each / "index.html").exists()), key=_order, reverse=True)
    entries = "\n".join(f'<li><a href="{html.escape(each)}/index.html">{html.escape(each)}</a></li>' for each in found)
    (site / "index.html").write_text(_PAGE.format(entries=entries), encoding="utf-8")
    listed = [{"version": each, "title": each, "aliases": ["latest"] if each == found[0] else []} for each in found]
    (site / "versions.json").write_text(json.dumps(listed), encoding="utf-8")


def _order(version: str) -> tuple[tuple[int, str], ...]:
    """Sorts by number where there are numbers: 0.10 comes after 0.9."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"[.\-+]", version))
