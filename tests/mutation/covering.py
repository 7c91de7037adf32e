"""Which tests run a line, from a coverage run that recorded the test of each line."""

import ast
from functools import cache
from pathlib import Path

from coverage import CoverageData


class Covering:
    """The tests of each line, the fastest first."""

    def __init__(self, root: Path, data: CoverageData, seconds: dict[str, float]) -> None:
        """data: by file below `root`, with contexts as pytest-cov names them; seconds: what each
        test that passed takes."""
        self.root, self.data, self.seconds = root, data, seconds

    def tests(self, path: str, line: int, within: float) -> dict[str, float]:
        """Return the tests that run the statement of `line` with their seconds, the fastest first,
        as many as take `within` seconds together.

        What runs at import (a constant, a default, a decorator) is run by all tests of the file.
        """
        contexts = self._contexts(path)
        lines, is_imported = self._statement(path, line)
        found = set[str]().union(*(contexts.get(each, set()) for each in lines))
        if not found and is_imported:
            found = set[str]().union(*contexts.values())
        chosen, left = dict[str, float](), within
        for test in sorted(found & self.seconds.keys(), key=lambda test: self.seconds[test]):
            left -= self.seconds[test]
            if left < 0 and chosen:
                break
            chosen[test] = self.seconds[test]
        return chosen

    @cache  # noqa: B019
    def _contexts(self, path: str) -> dict[int, set[str]]:
        """The tests of each line; `|setup` and its like are cut off their names."""
        return {
            line: {name.rpartition("|")[0] for name in names if name}
            for line, names in self.data.contexts_by_lineno(path).items()
        }

    def _statement(self, path: str, line: int) -> tuple[range, bool]:
        """The lines of the smallest statement around a line, without its body, and whether it runs
        at import."""
        found, imported = range(line, line + 1), True
        for node in ast.walk(ast.parse((self.root / path).read_text())):  # from the outside in
            if not isinstance(node, ast.stmt | ast.ExceptHandler):
                continue
            starts = [each.lineno for each in getattr(node, "decorator_list", ())]
            first = min([node.lineno, *starts])
            if not first <= line <= (node.end_lineno or 0):
                continue
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or 0
            is_head = line <= max(last, node.lineno)
            found = range(first, max(last, node.lineno) + 1) if is_head else range(line, line + 1)
            if isinstance(node, ast.FunctionDef) and not is_head:
                imported = False
        return found, imported
