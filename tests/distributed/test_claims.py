"""ClaimsActor: each constituent is given to one living trial, and nobody waits for ever."""

import asyncio
import random

import pytest

from lmeraser_ray.distributed.claims import ClaimsActor


def test_a_key_is_given_once_and_the_other_waits_for_it() -> None:
    async def story() -> None:
        claims = ClaimsActor()
        assert await claims.next("a", ["k1", "k2"]) == ("k1", True)
        assert await claims.next("b", ["k1", "k2"]) == ("k2", True), (
            "what nobody trains comes first"
        )
        waiting = asyncio.ensure_future(claims.next("b", ["k1"]))
        await asyncio.sleep(0)
        assert not waiting.done()
        await claims.made("k1")
        assert await waiting == ("k1", False)
        assert await claims.next("c", ["k1"]) == ("k1", False)

    asyncio.run(asyncio.wait_for(story(), 10))


def test_what_a_dead_trial_had_claimed_is_for_others() -> None:
    async def story() -> None:
        claims = ClaimsActor()
        assert await claims.next("a", ["k1"]) == ("k1", True)
        assert await claims.next("a", ["k1"]) == ("k1", True), (
            "a trial that begins again has its own claims"
        )
        waiting = asyncio.ensure_future(claims.next("b", ["k1"]))
        await asyncio.sleep(0)
        await claims.release("a")
        assert await waiting == ("k1", True)
        await claims.made("k1")
        await claims.release("b")
        assert await claims.next("c", ["k1"]) == ("k1", False), "what is made stays made"

    asyncio.run(asyncio.wait_for(story(), 10))


@pytest.mark.parametrize("seed", range(20))
def test_many_trials_train_each_key_once(seed: int) -> None:
    """Trials with random needs, some of which die with a claim in their hands and are released."""
    rng = random.Random(seed)
    trained: list[str] = []

    async def trial(claims: ClaimsActor, name: str, dies: int) -> None:
        needs = rng.sample([f"k{i}" for i in range(12)], rng.randint(1, 12))
        while needs:
            key, ours = await claims.next(name, needs)
            needs.remove(key)
            if ours:
                dies -= 1
                if dies == 0:
                    await claims.release(name)
                    return
                for _ in range(rng.randint(0, 3)):
                    await asyncio.sleep(0)
                trained.append(key)
                await claims.made(key)

    async def story() -> None:
        claims = ClaimsActor()
        await asyncio.gather(*(trial(claims, f"t{i}", rng.choice([0, 0, 2])) for i in range(6)))

    asyncio.run(asyncio.wait_for(story(), 10))
    assert len(trained) == len(set(trained))
