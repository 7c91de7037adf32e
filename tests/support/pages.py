"""The Markdown files of the repository, and what tests read in them: blocks of code, and commands.

>>> commands("```sh\\nlmeraser wait --workspace W \\\\\\n  ID   # until it is certified\\n```")
[['wait', '--workspace', 'W', 'ID']]
"""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMAND = re.compile(r"(?:^(?:\.venv/bin/)?|\$\(|sh -c ')lmeraser ([^')]*)")
"""`lmeraser …` at the beginning of a line, in a substitution, or in a shell of a container."""


def name_of(page: Path) -> str:
    """Return a page's path within the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def lines(text: str) -> list[str]:
    """Return the lines of a shell's text, those that a backslash continues being one."""
    return re.sub(r"\\+\n\s*", " ", text).splitlines()


def commands(text: str) -> list[list[str]]:
    """Return the words of every `lmeraser` command in a page's shell blocks, from the verb on."""
    found = [
        words
        for block in blocks(text, "sh")
        for line in lines(block)
        for words in COMMAND.findall(line)
    ]
    return [shlex.split(re.split(r"\s\(", words)[0], comments=True) for words in found]


def jobs(text: str) -> list[str]:
    """Return every `ray job submit` command that runs a script of `jobs/`."""
    return [
        line.strip() for line in lines(text) if re.match(r" *ray job submit .*python jobs/", line)
    ]
