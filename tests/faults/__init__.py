"""The fault matrix: real processes, real kill -9, a real full disk, real nodes. `ROWS` says what
each row is, and which tests show it."""

ROWS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: (
        "a client dies before its COMMIT",
        (
            "erasure/test_submitting.py::test_row_1_before_the_commit",
            "faults/test_submitting.py::test_a_client_that_dies_before_its_commit",
        ),
    ),
    2: (
        "a client dies after its COMMIT",
        (
            "erasure/test_submitting.py::test_row_2_after_the_commit",
            "faults/test_submitting.py::test_a_client_that_dies_after_its_commit",
        ),
    ),
    3: (
        "the driver is killed in the middle of a training",
        (
            "faults/test_killed.py::test_a_training_that_is_killed_is_taken_up_again",
            "faults/test_killed.py::test_an_erasure_that_is_killed_is_taken_up_again",
        ),
    ),
    4: (
        "the queue's actor is killed",
        (
            "distributed/test_queue_failures.py::test_an_actor_that_is_killed_goes_on_in_the_next_epoch",
        ),
    ),
    5: (
        "a worker is killed",
        (
            "distributed/test_queue_failures.py::test_a_worker_that_is_killed_is_tried_again",
            "distributed/test_queue_failures.py::test_a_poisoned_request_fails_and_blocks_nobody",
        ),
    ),
    6: (
        "a node is lost",
        (
            "faults/test_nodes.py::test_a_node_that_is_lost_costs_only_what_it_trained",
            "faults/test_nodes.py::test_a_node_with_the_queue_is_lost",
            "faults/test_nodes.py::test_a_training_that_loses_nodes",
            "faults/test_nodes.py::test_a_node_that_is_lost_costs_a_sweep_only_its_trials",
        ),
    ),
    7: (
        "a raylet is killed",
        ("faults/test_nodes.py::test_a_node_that_is_lost_costs_only_what_it_trained",),
    ),
    8: (
        "split brain",
        (
            "faults/test_split_brain.py::test_a_queue_that_wakes_up_after_another_took_over_changes_nothing",
            "faults/test_nodes.py::test_a_node_that_is_taken_for_dead_does_no_harm",
        ),
    ),
    9: (
        "the head dies",
        (
            "faults/test_nodes.py::test_a_head_that_is_lost_takes_nothing_with_it",
            "distributed/test_queue_pod.py::test_a_head_that_comes_back",
        ),
    ),
    10: (
        "the disk is full under the database",
        (
            "faults/test_disk.py::test_full_under_the_database",
            "faults/test_disk.py::test_full_under_the_database_in_the_middle",
        ),
    ),
    11: (
        "the disk is full under the artifacts",
        (
            "faults/test_disk.py::test_full_under_the_artifacts",
            "faults/test_disk.py::test_full_in_the_middle_of_a_training",
        ),
    ),
    12: (
        "a torn or flipped artifact",
        (
            "faults/test_damage.py::test_a_damaged_artifact_is_named_and_rebuilt_and_never_served",
            "faults/test_damage.py::test_a_request_that_meets_a_damaged_bucket",
        ),
    ),
    13: (
        "a torn journal",
        (
            "faults/test_damage.py::test_a_torn_journal",
            "storage/test_journal.py::test_a_journal_that_is_cut_anywhere_gives_what_was_committed_or_a_refusal",
        ),
    ),
    14: (
        "a crash around publishing",
        (
            "operations/test_crash_in_erasure.py::test_an_erasure_that_dies_anywhere_is_finished_by_the_same_command",
            "faults/test_killed.py::test_an_erasure_that_is_killed_anywhere_ends_once",
            "faults/test_killed.py::test_the_same_on_postgresql",
        ),
    ),
    15: (
        "a crash in the middle of the purge, a file that cannot be removed",
        (
            "operations/test_crash_in_erasure.py::test_an_erasure_that_dies_anywhere_is_finished_by_the_same_command",
            "faults/test_purging.py::test_killed_in_the_middle_of_the_purge",
            "faults/test_purging.py::test_a_file_that_cannot_be_removed",
        ),
    ),
    16: (
        "a crash around signing",
        (
            "erasure/test_signer.py::test_a_crash_around_signing",
            "faults/test_killed.py::test_an_erasure_that_is_killed_anywhere_ends_once",
        ),
    ),
    17: (
        "duplicates, 32 submitters at once, overlapping ids",
        (
            "erasure/test_submitting.py::test_row_17_32_processes",
            "erasure/test_submitting.py::test_any_sending_by_32_threads_is_one_row_a_key",
        ),
    ),
    18: (
        "the clock moves by 40 days",
        ("erasure/test_deadline.py::test_the_clock_moves_and_the_deadline_stands",),
    ),
    19: (
        "an old backup is restored",
        ("erasure/test_restore.py::test_the_erased_are_not_restored_from_a_backup_of_before",),
    ),
}
