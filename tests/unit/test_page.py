"""A page that is followed by a test can be found wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.page import THE_END, Change, Command, File, Interruption, Session, missing, parts

pytestmark = pytest.mark.unit

PAGE = """
Some words.

```python
# greet.py
print("hello")
```

```diff
--- greet.py
-print("hello")
+print("hi")

-# the end
```

```console
$ python greet.py
hi
$ cd ..
```

```console
^C
```
"""


def test_files_changes_commands_and_interruptions_come_in_order(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)

    assert list(parts(tmp_path / "page.md")) == [
        File("greet.py", '# greet.py\nprint("hello")\n'),
        Change("greet.py", [('print("hello")\n', 'print("hi")\n'), ("# the end\n", "")]),
        Session([Command("python greet.py", ["hi"]), Command("cd ..")]),
        Interruption(),
    ]


@pytest.mark.parametrize(
    "block", ["```python\nprint()\n```\n", "```\n$ ls\n```\n", "```console\nls\n```\n", "```diff\n--- a.py\n+a\n```\n"]
)
def test_a_block_that_is_none_of_them_is_not_passed_over(tmp_path: Path, block: str) -> None:
    (tmp_path / "page.md").write_text(block)

    with pytest.raises(ValueError, match=r"neither a file|above the first command|where this goes"):
        list(parts(tmp_path / "page.md"))


def test_a_change_of_something_that_is_not_there_fails() -> None:
    with pytest.raises(AssertionError, match="exactly once"):
        Change("greet.py", [("hello\n", "hi\n")]).applied_to("good morning\n")


@pytest.mark.parametrize(
    ("shown", "output"),
    [
        ([], ""),
        (["a", "b"], "a\nb\n"),
        (["a  b"], "a b"),
        (["took … s"], "took 1.5 s"),
        (["…", "b"], "a\na\nb"),
        (["a", "…"], "a\nb\nc"),
        (["a", "…", "c"], "a\nb\nc"),
        (["a", "…", "c"], "a\nc\nb\nc"),
        (["a", "", "b"], "a\nb"),
        (["…"], ""),
    ],
)
def test_output_that_is_as_shown(shown: list[str], output: str) -> None:
    assert missing(shown, output) is None


@pytest.mark.parametrize(
    ("shown", "output", "what"),
    [
        (["a"], "", "a"),
        ([], "a", THE_END),
        (["a"], "a\nb", THE_END),
        (["a"], "b\na", "a"),
        (["took … s"], "took 1.5 min", "took … s"),
        (["…", "b"], "b\na", THE_END),
        (["a", "…", "c"], "a\nb", "c"),
        (["a", "…", "c", "…", "b"], "a\nb\nc", "b"),
        (["a", "b"], "a\n\nc", "b"),
    ],
)
def test_output_that_is_not_as_shown(shown: list[str], output: str, what: str) -> None:
    assert missing(shown, output) == what
