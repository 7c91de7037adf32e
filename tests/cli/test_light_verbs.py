"""What each verb imports: a command that only asks the request database waits for no library that
it does not use. By the names of modules, since a time says more of the machine."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.erasure.certificate.statement import read_statement
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.requests import repository
from lmeraser_ray.pipeline.session import Session
from tests.support.command_line import Lm, Place

HEAVY = (
    *("torch", "timm", "torchvision", "ray", "numpy", "scipy", "sklearn", "pandas", "pyarrow"),
    *("matplotlib", "PIL", "safetensors", "ahocorasick_rs", "fpdf", "cloudpickle"),
    *("sqlalchemy", "sqlalchemy.dialects.postgresql", "psycopg", "cryptography", "rich"),
    "pydantic",
)
"""What takes a fiftieth of a second or more to import."""
WORDS = {"pydantic"}
"""Fields of the configuration are options of every verb."""
DATABASE = {*WORDS, "sqlalchemy"}
TABLE = {*DATABASE, "rich"}
SIGNED = {*DATABASE, "cryptography"}
RUNS: dict[str, tuple[str, set[str]]] = {
    "version": ("", set()),
    "help": ("", WORDS),
    "help config": ("queue", WORDS),
    "help status": ("", WORDS),
    "completion": ("bash", WORDS),
    "train": ("--print_config --system sisa", WORDS),
    "keys": ("list --keys {keys}", {*WORDS, "cryptography"}),
    "status": ("", TABLE),
    "status ID": ("{id}", DATABASE),
    "requests": ("", TABLE),
    "queue": ("status", TABLE),
    "submit": ("--records {record}", DATABASE),
    "wait": ("{id} --timeout 0", DATABASE),
    "extend": ("{id} --reason holidays", DATABASE),
    "retry": ("{id}", DATABASE),
    "certify": ("{id} --reason kept --with_exceptions", DATABASE),
    "cancel": ("{id}", DATABASE),
    "refuse": ("{id} --reason hold", DATABASE),
    "certificate": ("{id}", SIGNED),
    "secret": ("show", DATABASE),
    "roles": ("", DATABASE),
    "tokens": ("list", DATABASE),
    "fingerprint": ("", DATABASE),
    "backup": ("--erasures {erasures}", DATABASE),
}
"""By the words of a command (ID is none): the rest of it, and all of `HEAVY` that it may import."""
WORKING = {
    *("inspect", "predict", "evaluate", "demo", "cost", "unlearn", "verify", "audit", "compare"),
    *("sweep", "recommend", "attack", "figures", "diversity", "doctor", "restore"),
    *("report", "export", "serve"),
}
"""Verbs that read records, compute or ask torch; like all others they parse without it."""
OF_NO_WORKSPACE = {"version", "help", "completion"}
PROBE = """
import sys
from lmeraser_ray.cli.main import run
try:
    run(None, sys.argv[2:])
except SystemExit:
    pass
sys.stdout.flush()
open(sys.argv[1], "w").write(" ".join(sys.modules))
"""
PARSERS = """
import sys
from lmeraser_ray.cli.verbs import VERBS
from lmeraser_ray.cli.words import parser_of
texts = [parser_of(verb).format_help() for verb in VERBS.values()]
open(sys.argv[1], "w").write(" ".join(sys.modules))
"""
OF_WORKERS = ("decode", "claims", "metrics", "sentinel", "address")
"""Modules of processes of Ray that have nothing to do with a model."""


def imported(script: str, out: Path, *words: str) -> set[str]:
    """The heavy modules that a script has imported at its end."""
    subprocess.run(
        [sys.executable, "-c", script, str(out), *words],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(out.read_text().split()) & set(HEAVY)


@pytest.mark.parametrize("command", RUNS)
def test_a_command_imports_no_more_than_it_uses(
    command: str, lm: Lm, place: Place, tmp_path: Path
) -> None:
    rest, may = RUNS[command]
    known = {
        "id": lm("submit", "--records", place.id(), "--workspace", place.root).out.strip(),
        "keys": str(tmp_path),
        "record": place.id(),
        "erasures": str(tmp_path / "erasures"),
    }
    words = [*command.removesuffix(" ID").split(), *rest.format(**known).split()]
    if words[0] not in OF_NO_WORKSPACE:
        words += ["--workspace", str(place.root)]
    assert imported(PROBE, tmp_path / "modules", *words) == may


def test_every_verb_parses_without_what_works(tmp_path: Path) -> None:
    assert imported(PARSERS, tmp_path / "modules") == WORDS


def test_each_verb_is_in_one_of_the_lists() -> None:
    light = {command.split()[0] for command in RUNS} - {"version", "help"}
    assert light | WORKING == set(VERBS)
    assert not light & WORKING


def test_workers_without_a_model_load_no_torch(tmp_path: Path) -> None:
    script = "import sys\n" + "".join(
        f"import lmeraser_ray.distributed.{name}\n" for name in OF_WORKERS
    )
    script += 'open(sys.argv[1], "w").write(" ".join(sys.modules))'
    found = imported(script, tmp_path / "modules")
    assert "ray" in found
    assert not found & {"torch", "timm", "torchvision", "scipy", "sklearn"}


def test_who_lets_a_queue_erase_loads_nothing_that_works(tmp_path: Path) -> None:
    """`unlearn` submits to the queue that serves, and waits."""
    script = "import sys\nimport lmeraser_ray.operations.unlearn\n"
    script += 'open(sys.argv[1], "w").write(" ".join(sys.modules))'
    assert imported(script, tmp_path / "modules") == SIGNED


def test_a_small_training_and_erasure_import_no_ray(
    made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the default of `execution.engine`, without a cluster's address."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    tree = yaml.safe_load(made.config.read_text())
    del tree["execution"]
    config, root = tmp_path / "config.yaml", tmp_path / "workspace"
    config.write_text(yaml.safe_dump(tree))
    for words in (
        ("train", "--config", config, "--workspace", root),
        ("unlearn", "--records", made.id(), "--workspace", root),
    ):
        found = imported(PROBE, tmp_path / "modules", *map(str, words))
        assert "torch" in found and "ray" not in found
    session = Session(root)
    assert session.config().execution.engine == "auto"
    with repository(session) as requests:
        [request] = requests.list()
    assert request.state is State.CERTIFIED and request.statement is not None
    said = read_statement(request.statement).execution.engine
    assert said == "ray", "nobody knows where earlier commands worked: what Ray leaves is said"
