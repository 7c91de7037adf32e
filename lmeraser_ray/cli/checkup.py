"""The verb `doctor`."""

from lmeraser_ray.cli.verb import Arguments, Report, Verb, workspace_of
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.progress import Progress

MARKS = {True: "ready", None: "-", False: "NOT READY"}


def run_doctor(args: Arguments, progress: Progress) -> Report:
    """Say what of machine, GPU, Ray, keys, database and disk is ready, and what to do.

    Nothing is started, made or changed. Exit code 0 when all that is needed is ready, else 5.
    """
    done = workspace_of(args, progress).doctor()
    lines = [f"{each.what:<10} {MARKS[each.ready]:<10} {each.sentence}" for each in done.findings]
    data = {
        "ready": done.ready,
        "findings": [
            {"what": each.what, "ready": each.ready, "sentence": each.sentence}
            for each in done.findings
        ],
    }
    code = 0 if done.ready else ExecutionError.exit_code
    return Report("\n".join(lines), data, exit_code=code)


VERBS = (Verb("doctor", run_doctor),)
