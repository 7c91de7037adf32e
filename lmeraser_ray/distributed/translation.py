"""What Ray raises, as an error of ours that says what to do."""

import re

import ray
import ray.exceptions

from lmeraser_ray.errors import ExecutionError, LmeraserError


def translated(error: BaseException) -> Exception:
    """Ray's error as one of ours: the cause that our own code raised, else an `ExecutionError` that
    says what Ray said."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, LmeraserError) and not isinstance(
            link, ray.exceptions.RayError
        ):  # Ray's wrapper is of both kinds
            return link
        link = getattr(link, "cause", None) or link.__cause__
    if isinstance(
        error,
        ray.exceptions.WorkerCrashedError
        | ray.exceptions.ActorDiedError
        | ray.exceptions.OutOfMemoryError,
    ):
        return ExecutionError(
            f"A worker died more often than execution.retries allows ({type(error).__name__}), "
            "perhaps for want of memory: run fewer at once (--execution.cpus), then run the same "
            "command again; what is finished is kept."
        )
    if isinstance(error, ray.exceptions.RayTaskError):
        return ExecutionError(
            f"A job on Ray raised {raised(error)}: a defect, or a machine that is not as expected."
        )
    first = str(error).strip().splitlines()
    return ExecutionError(
        f"Ray could not finish the work ({type(error).__name__}: "
        f"{first[-1] if first else 'no message'})."
    )


def raised(error: ray.exceptions.RayTaskError) -> str:
    """What a job raised, and where; not its message, which may name a record, while this sentence
    is kept."""
    places = re.findall(r'File "[^"]*?([^"/]+)", line (\d+)', str(error))
    where = f" ({places[-1][0]}, line {places[-1][1]})" if places else ""
    return f"{type(error.cause).__name__}{where}"
