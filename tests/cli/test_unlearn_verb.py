"""`lmeraser unlearn`: the ways to name whom to erase, what is refused and changes nothing, ids that
are erased already, and ids that are readmitted."""

import os

import pytest

from tests.support.command_line import DATABASE, Lm, Place, asked, everything, expect_refused
from tests.support.law import held
from tests.support.world import World


class TestUnlearn:
    def test_many_at_once_by_every_way(self, lm: Lm, place: Place) -> None:
        """--records twice and with commas, --subjects, --file: one state, that of never having seen
        them."""
        ids, listed = place.world.ids, place.root.parent / "ids.txt"
        listed.write_text(f"\n {ids[8]} \n{ids[9]}\n{ids[0]}\n")
        words = [
            "--records",
            f"{ids[0]}, {ids[2]}",
            "--records",
            ids[4],
            "--subjects",
            "person-3",
            "--file",
            listed,
        ]
        data = lm("unlearn", "--workspace", place.root, *words, "--json").json
        assert data["removed"] == 7
        exclude = place.root.parent / "exclude.txt"
        exclude.write_text("\n".join(ids[i] for i in (0, 2, 4, 6, 7, 8, 9)))
        other = place.root.parent / "other"
        never = lm(
            "train",
            "--config",
            place.config,
            "--workspace",
            other,
            "--data.exclude",
            exclude,
            "--json",
        ).json
        assert never["excluded"] == 7
        assert never["fingerprint"] == data["fingerprint"]
        assert held(other) == held(place.root)

    @pytest.mark.parametrize(
        "words",
        [["--records", "nobody"], ["--subjects", "nobody"], ["--records", "person-0"]],
        ids=str,
    )
    def test_unknown_ids_are_named_and_nothing_is_changed(
        self, lm: Lm, place: Place, words: list[str]
    ) -> None:
        """Also where known ones stand beside them; a subject is no record."""
        name, before = place.id(), everything(place.root, DATABASE)
        expect_refused(
            lm("unlearn", "--workspace", place.root, "--records", name, *words),
            3,
            repr(words[1]),
            "nothing was changed",
        )
        assert everything(place.root, DATABASE) == before
        assert asked(place.root) == ({"REFUSED": 1}, 0)
        kept = (place.root / DATABASE).read_bytes()
        assert not any(word.encode() in kept for word in (name, words[1]))
        assert lm("verify", "--workspace", place.root).code == 0

    def test_many_unknown_ids_are_not_a_wall_of_text(self, lm: Lm, place: Place) -> None:
        said = lm(
            "unlearn",
            "--workspace",
            place.root,
            "--records",
            ",".join(f"nobody-{i}" for i in range(500)),
        )
        expect_refused(said, 3, "'nobody-0'", "and 495 more")
        assert len(said.err) < 400

    def test_already_erased_is_said_and_nothing_is_done(self, lm: Lm, place: Place) -> None:
        name = place.id()
        first = lm("unlearn", "--workspace", place.root, "--records", name, "--json").json
        before = everything(place.root, DATABASE)
        said = lm("unlearn", "--workspace", place.root, "--records", name, "--json")
        assert said.code == 0
        assert (said.json["removed"], said.json["already_erased"], said.json["retrained"]) == (
            0,
            [name],
            0,
        )
        assert said.json["fingerprint_before"] == said.json["fingerprint"] == first["fingerprint"]
        assert "erased before" in said.err
        assert everything(place.root, DATABASE) == before
        assert said.json["request"] != first["request"], "each request has its own certificate"
        assert asked(place.root) == ({"CERTIFIED": 2}, 1)

    def test_already_erased_beside_a_new_one(self, lm: Lm, place: Place) -> None:
        ids = [place.world.ids[0], place.world.ids[1]]
        lm("unlearn", "--workspace", place.root, "--records", ids[0])
        data = lm("unlearn", "--workspace", place.root, "--records", ",".join(ids), "--json").json
        assert (data["removed"], data["already_erased"]) == (1, [ids[0]])

    def test_nobody_named(self, lm: Lm, place: Place) -> None:
        expect_refused(lm("unlearn", "--workspace", place.root), 2, "--records")
        expect_refused(lm("unlearn", "--workspace", place.root, "--records", " , "), 2, "--records")
        expect_refused(
            lm("unlearn", "--workspace", place.root, "--file", place.root / "nowhere"), 2, "nowhere"
        )

    @pytest.mark.parametrize("verb", ["unlearn", "submit"])
    def test_what_ray_keeps_of_a_job_names_nobody(
        self, lm: Lm, place: Place, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        """Neither its command line nor a file that is sent with it: an erasure would never be
        certified. A file elsewhere may."""
        sent, elsewhere = (
            place.root.parent / "runtime_resources/working_dir_files/job/ids",
            place.root.parent / "ids",
        )
        sent.parent.mkdir(parents=True)
        for path in (sent, elsewhere):
            path.write_text(place.id())
        before = everything(place.root)
        expect_refused(lm(verb, "--workspace", place.root, "--file", sent), 2, "outside of a job")
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
        for option in ("--records", "--subjects"):
            expect_refused(
                lm(verb, "--workspace", place.root, option, place.id()), 2, "--subjects_file"
            )
        expect_refused(
            lm("cost", "--workspace", place.root, "--records", place.id()), 2, "outside of a job"
        )
        assert everything(place.root) == before
        assert lm(verb, "--workspace", place.root, "--file", elsewhere).code == 0

    def test_what_a_job_prints_names_nobody(
        self, lm: Lm, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ray keeps it in the cluster's logs: who was erased before is counted only."""
        named, listed = place.id(), place.root.parent / "ids"
        listed.write_text(f"{named}\n")
        assert lm("unlearn", "--workspace", place.root, "--file", listed).code == 0
        listed.write_text(f"{named}\n{place.id()}\n")
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
        done = lm("unlearn", "--workspace", place.root, "--file", listed, "--json")
        assert done.json["removed"] == 1 and done.json["already_erased"] is None
        assert "1 id erased before." in done.err and named not in done.out + done.err

    def test_a_file_with_a_byte_order_mark(self, lm: Lm, place: Place) -> None:
        """As Windows editors write it; the first id is not another one for it."""
        listed = place.root.parent / "ids.txt"
        listed.write_bytes(b"\xef\xbb\xbf" + place.id().encode() + b"\r\n")
        assert (
            lm("unlearn", "--workspace", place.root, "--file", listed, "--json").json["removed"]
            == 1
        )

    def test_an_id_that_is_no_unicode(self, lm: Lm, place: Place) -> None:
        """Bytes of another encoding come from the shell as surrogates: no record has such an id,
        before and after an erasure."""
        for certified in range(2):
            before = everything(place.root, DATABASE)
            said = lm("unlearn", "--workspace", place.root, "--records", os.fsdecode(b"caf\xe9"))
            expect_refused(said, 3, "the record id 'caf\\udce9'")
            assert everything(place.root, DATABASE) == before
            assert asked(place.root) == ({"CERTIFIED": 1} if certified else {}, certified)
            lm("unlearn", "--workspace", place.root, "--records", place.world.ids[0])

    @pytest.mark.parametrize(
        ("words", "about"),
        [
            (["--typo.field", "1"], "typo.field"),
            (["--learner.epochs", "9"], "--learner.epochs"),
            (["--execution.retries", "many"], "execution.retries"),
        ],
        ids=["unknown", "identity", "invalid"],
    )
    def test_a_wrong_option_is_refused_before_anything_is_erased(
        self, lm: Lm, place: Place, words: list[str], about: str
    ) -> None:
        before = everything(place.root)
        expect_refused(
            lm("unlearn", "--workspace", place.root, "--records", place.id(), *words), 2, about
        )
        assert everything(place.root) == before
        assert lm("verify", "--workspace", place.root).code == 0

    def test_erased_ids_stay_erased_until_they_are_readmitted(self, lm: Lm, place: Place) -> None:
        name, words = place.id(), ["--config", place.config, "--workspace", place.root, "--json"]
        whole = lm("fingerprint", "--workspace", place.root, "--json").json["fingerprint"]
        lm("unlearn", "--workspace", place.root, "--records", name)
        said = lm("train", *words)
        assert said.json["erased_left_out"] == 1
        assert "1 record erased before, left out again" in said.err
        listed = place.root.parent / "readmit.txt"
        listed.write_text(name)
        assert lm("train", *words, "--data.readmit", listed).json["fingerprint"] == whole
        assert lm("train", *words).json["erased_left_out"] == 0

    def test_readmitting_that_fails_leaves_the_id_erased(self, lm: Lm, place: Place) -> None:
        """The training was refused for another reason, so nothing may have changed, tombstones
        least of all."""
        name = place.id()
        lm("unlearn", "--workspace", place.root, "--records", name)
        listed, other = (
            place.root.parent / "readmit.txt",
            World(place.root.parent / "smaller", n=10),
        )
        listed.write_text(name)
        before = everything(place.root)
        words = ["--config", place.config, "--workspace", place.root, "--data.readmit", listed]
        expect_refused(lm("train", *words, "--data.path", other.path), 3, "no longer has")
        assert asked(place.root) == ({"CERTIFIED": 1}, 1)
        assert {
            name: data for name, data in everything(place.root).items() if "objects" not in name
        } == {name: data for name, data in before.items() if "objects" not in name}
        assert lm("train", *words[:-2], "--json").json["erased_left_out"] == 1

    def test_one_readmitted_record_of_an_erased_subject(self, lm: Lm, place: Place) -> None:
        """Let in again by name, it stays, whatever else is erased or trained later; or it is
        refused, but never dropped in silence."""
        world, words = place.world, ["--config", place.config, "--workspace", place.root, "--json"]
        lm("unlearn", "--workspace", place.root, "--subjects", "person-2")
        listed = place.root.parent / "readmit.txt"
        listed.write_text(world.ids[4])
        said = lm("train", *words, "--data.readmit", listed)
        if said.code:
            expect_refused(said, 3, "person-2")
            return
        assert said.json["records"] == 23
        assert lm("train", *words).json["records"] == 23
        assert (
            lm("unlearn", "--workspace", place.root, "--records", world.ids[0], "--json").json[
                "removed"
            ]
            == 1
        )
