"""The settings of the site's generator, written as TOML beside the pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scripts.site.navigation import Section

TEMPLATES = Path(__file__).parent / "templates"

ASSETS = Path(__file__).parent / "assets"
"""What goes into the folder `assets` beside the pages."""
SHIM = "assets/iframe-worker.js"
"""By which a page that is opened from a file, without a server, can be searched."""
STYLE = "assets/site.css"

_FEATURES = [
    "content.code.copy",
    "navigation.footer",
    "navigation.indexes",
    "navigation.path",
    "navigation.sections",
    "navigation.top",
    "search.highlight",
    "toc.follow",
]
_PALETTE = [
    ("(prefers-color-scheme)", None, "lucide/sun-moon", "Switch to light mode"),
    ("(prefers-color-scheme: light)", "default", "lucide/sun", "Switch to dark mode"),
    ("(prefers-color-scheme: dark)", "slate", "lucide/moon", "Switch to system preference"),
]
_REFERENCE = {
    "docstring_style": "sphinx",  # which leaves Markdown as it is
    "extensions": ["griffe_pydantic"],
    "heading_level": 2,
    "members_order": "source",
    "merge_init_into_class": True,
    "separate_signature": True,
    "show_bases": True,
    "show_root_full_path": False,
    "show_root_heading": True,
    "show_signature_annotations": True,
    "show_source": False,
    "show_symbol_type_heading": True,
    "show_symbol_type_toc": True,
    "signature_crossrefs": True,
    "summary": False,
}


def write(file: Path, *, root: Path, url: str, version: str, sections: Sequence[Section]) -> None:
    """Write the settings for one version, whose pages and output are below the file's folder."""
    project = {
        "site_name": f"Counteract {version}",
        "site_description": "Orchestrated sagas on Temporal with an event store, projections and proofs on PostgreSQL",
        "site_url": f"{url.rstrip('/')}/{version}/",
        "docs_dir": "pages",
        "site_dir": f"site/{version}",
        "use_directory_urls": False,
        "nav": [
            {"What do you want to do?": "README.md"},
            *({each.title: [{entry.title: entry.page} for entry in each.entries]} for each in sections),
        ],
        "theme": {
            # None of another host, and no other look than the reader's own.
            "font": False,
            "features": _FEATURES,
            "palette": list(_palette()),
        },
        "extra": {"generator": False, "version": {"provider": "mike"}, "polyfills": [SHIM]},
        "extra_css": [STYLE],
        "plugins": {
            "search": {},
            "offline": {},
            "llmstxt": {"sections": {each.title: _described(each) for each in sections}},
            "mkdocstrings": {
                "custom_templates": str(TEMPLATES),
                "handlers": {"python": {"paths": [str(root)], "options": _REFERENCE}},
            },
        },
    }
    file.write_text(_toml({"project": project}), encoding="utf-8")


def _described(section: Section) -> list[dict[str, str]]:
    return [{entry.page: entry.about} for entry in section.entries]


def _palette() -> Iterator[dict[str, Any]]:
    for media, scheme, icon, name in _PALETTE:
        shown = {"scheme": scheme} if scheme else {}
        yield {"media": media, **shown, "toggle": {"icon": icon, "name": name}}


def _toml(value: Any) -> str:
    """The text of a document, with its inner tables as inline ones, which say the same."""
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {_inline(each)}\n" for key, each in table.items())
        for name, table in value.items()
    )


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
