"""Every verb of the command line, by name."""

from lmeraser_ray.cli.ask import (
    cost_options,
    predict_options,
    run_cost,
    run_evaluate,
    run_fingerprint,
    run_predict,
    run_verify,
    verify_options,
)
from lmeraser_ray.cli.attack import attack_options, run_attack
from lmeraser_ray.cli.backup import backup_options, restore_options, run_backup, run_restore
from lmeraser_ray.cli.evidence import (
    audit_options,
    certificate_options,
    keys_options,
    run_audit,
    run_certificate,
    run_keys,
)
from lmeraser_ray.cli.figures import diversity_options, figures_options, run_diversity, run_figures
from lmeraser_ray.cli.queue import queue_options, run_queue
from lmeraser_ray.cli.requests import (
    cancel_options,
    extend_options,
    named_options,
    one_request,
    reason_options,
    run_cancel,
    run_extend,
    run_refuse,
    run_retry,
    run_status,
    run_submit,
    run_wait,
    status_options,
    submit_options,
    wait_options,
)
from lmeraser_ray.cli.study import compare_options, run_compare, run_sweep, sweep_options
from lmeraser_ray.cli.train import run_demo, run_train, run_unlearn, train_options
from lmeraser_ray.cli.verb import Verb, no_options

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "train",
            "train a workspace on its records; what exists is reused, what was interrupted goes on",
            train_options,
            run_train,
        ),
        Verb("predict", "label pictures", predict_options, run_predict),
        Verb(
            "evaluate",
            "accuracy on test records and on the remaining training records",
            no_options,
            run_evaluate,
        ),
        Verb(
            "unlearn",
            "erase records or subjects: submit, and wait for the certificate",
            named_options,
            run_unlearn,
        ),
        Verb("submit", "commit an erasure request; prints its id", submit_options, run_submit),
        Verb("status", "where a request is, or how the queue stands", status_options, run_status),
        Verb("wait", "until a request is certified, or closed otherwise", wait_options, run_wait),
        Verb("cancel", "withdraw a request that nobody has looked at", cancel_options, run_cancel),
        Verb("refuse", "refuse a request, with a reason: a legal hold", reason_options, run_refuse),
        Verb("extend", "put a deadline off, once, with a reason", extend_options, run_extend),
        Verb("retry", "have a failed request tried again", one_request, run_retry),
        Verb(
            "cost",
            "the exact share of records that a deletion trains again",
            cost_options,
            run_cost,
        ),
        Verb(
            "fingerprint",
            "SHA-256 over all that the workspace holds of the private data",
            no_options,
            run_fingerprint,
        ),
        Verb(
            "verify",
            "check every digest and that nothing is stray; --rebuild trains again and compares "
            "bytes",
            verify_options,
            run_verify,
        ),
        Verb(
            "queue",
            "work off erasure requests: serve, run until none is left, status, watch",
            queue_options,
            run_queue,
        ),
        Verb(
            "certificate",
            "the signed certificate of an erasure",
            certificate_options,
            run_certificate,
        ),
        Verb(
            "audit",
            "check the ledger, every request and every certificate against each other",
            audit_options,
            run_audit,
        ),
        Verb(
            "keys", "make, rotate and list the keys that sign certificates", keys_options, run_keys
        ),
        Verb(
            "backup",
            "the published state, the requests and the secret in one file; erasures in another",
            backup_options,
            run_backup,
        ),
        Verb(
            "restore",
            "a workspace from a backup, without anyone who was erased since",
            restore_options,
            run_restore,
        ),
        Verb(
            "compare",
            "systems side by side: accuracy against the price of forgetting",
            compare_options,
            run_compare,
            folder="study",
        ),
        Verb(
            "sweep",
            "which threshold, or other value, to train with: accuracy, cost of a deletion, a "
            "choice",
            sweep_options,
            run_sweep,
            folder="study",
        ),
        Verb(
            "attack",
            "removal effectiveness: the law, then membership attacks as evidence",
            attack_options,
            run_attack,
            folder="study",
        ),
        Verb(
            "figures",
            "draw the figures of a study (PNG, SVG), or a workspace's shards and prompts",
            figures_options,
            run_figures,
            folder="study",
        ),
        Verb(
            "diversity",
            "how different the training pictures are, and how much less within a shard",
            diversity_options,
            run_diversity,
        ),
        Verb(
            "demo",
            "the whole story on handwritten digits: train, predict, unlearn, verify",
            no_options,
            run_demo,
        ),
    )
}
