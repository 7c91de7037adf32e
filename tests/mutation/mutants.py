"""What can be mutated: the places of cosmic-ray's operators, without those that cannot matter.

A place (a number, an operator, a condition, a decorator, a loop) is one mutant of each kind that
fits it; where the kind has several replacements (`+` becomes one of ten), the seed draws one, so
that places count alike.
"""

import ast
import difflib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[int, int]
"""A line, from 1, and a column, from 0."""
SAME = ("_Is_Eq", "_Eq_Is", "_IsNot_NotEq", "_NotEq_IsNot")
"""Identity for equality: not to be told apart where both sides are the same constant."""
FOR_SPEED_ONLY = {"cache", "lru_cache"}
FOR_CARE_ONLY = {"slots", "frozen"}


@dataclass(frozen=True, order=True)
class Mutant:
    """One change to one file. path: below the repository's root; occurrence: the how-manieth place
    of the operator in its file."""

    path: str
    start: Position
    operator: str
    occurrence: int

    def code(self, source: str) -> str | None:
        """The file's text with the change; None where that is no Python."""
        mutated = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        try:
            compile(mutated, self.path, "exec")
        except SyntaxError:
            return None
        return str(mutated)

    def diff(self, source: str) -> str:
        """The lines that change, as `-` and `+`, under the place and the operator."""
        lines = difflib.ndiff(source.splitlines(), (self.code(source) or "").splitlines())
        changed = [line for line in lines if line[:2] in ("- ", "+ ") and line[2:].strip()]
        return "\n".join([f"{self.path}:{self.start[0]} {self.operator}", *changed])


def mutants_of(root: Path, path: str, seed: int) -> list[Mutant]:
    """Return one mutant for each place and kind in a file that can matter."""
    source = (root / path).read_text()
    kinds = defaultdict[tuple[Position, str], list[Mutant]](list)
    left_out = list(spans_without_meaning(ast.parse(source)))
    nodes = [node for node in ast_nodes(get_ast(source)) if node.type not in ("name", "newline")]
    for name in operator_names():
        if get_operator(name).arguments() or name.endswith(SAME):
            continue
        operator = get_operator(name)()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, start in enumerate(places):
            if not any(first <= start < last for first, last in left_out):
                kind = name.partition("_")[0]
                kinds[start, kind].append(Mutant(path, start, name, occurrence))
    return [
        random.Random(f"{seed} {path} {start} {kind}").choice(same)
        for (start, kind), same in sorted(kinds.items())
    ]


def spans_without_meaning(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """Where a change cannot matter, or to nobody but a reader: annotations and aliases of types,
    the text of errors, caches, and what forbids assignment to attributes."""
    for node in ast.walk(tree):
        for part in without_meaning(node):
            end = (part.end_lineno or 0, part.end_col_offset or 0)
            yield (part.lineno, part.col_offset), end
    for function in ast.walk(tree):
        for decorator in getattr(function, "decorator_list", ()):
            if ast.unparse(decorator).partition("(")[0] in FOR_SPEED_ONLY:
                start = (decorator.lineno, decorator.col_offset - 1)  # with its `@`
                yield start, (decorator.lineno, decorator.end_col_offset or 0)


def without_meaning(node: ast.AST) -> Iterable[ast.expr | ast.stmt | ast.keyword]:
    """The parts of a node that do not matter."""
    match node:
        case ast.arg(annotation=ast.expr() as type_) | ast.AnnAssign(annotation=type_):
            return [type_]
        case ast.FunctionDef(returns=ast.expr() as type_):
            return [type_]
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp()) if is_type(name):
            return [node]
        case ast.Raise(exc=ast.expr() as error):
            return [error]
        case ast.keyword(arg=name) if name in FOR_CARE_ONLY:
            return [node]
        case ast.If(test=ast.Name("TYPE_CHECKING")):
            return [node]
    return []


def is_type(name: str) -> bool:
    """Whether a name is one of a type, as `Location` is."""
    return name[0].isupper() and not name.isupper()
