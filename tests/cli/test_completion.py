"""`lmeraser completion`: a script that a shell reads, and what it completes."""

import shutil
import subprocess

import pytest

from lmeraser_ray.cli.verbs import VERBS
from tests.support.command_line import Lm


def completed(script: str, *words: str) -> set[str]:
    """What bash offers after these words, the last of which has begun."""
    program = (
        f"{script}\nCOMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}\n"
        "_shtab_lmeraser; printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    done = subprocess.run(
        ["bash", "--norc"], input=program, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_bash_completes_verbs_options_and_choices(lm: Lm) -> None:
    script = lm("completion", "bash").out
    assert completed(script, "lmeraser", "un") == {"unlearn"}
    assert set(VERBS) <= completed(script, "lmeraser", "''")
    assert "--subjects_file" in completed(script, "lmeraser", "unlearn", "--sub")
    assert completed(script, "lmeraser", "queue", "se") == {"serve"}
    assert "--learner.epochs" in completed(script, "lmeraser", "train", "--learner.e")
    assert completed(script, "lmeraser", "train", "--data.source", "fo") == {"folder"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_the_other_shells_read_theirs(lm: Lm, shell: str) -> None:
    said = lm("completion", shell)
    assert (said.code, "unlearn" in said.out) == (0, True)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=said.out, text=True, check=True)
