"""Run in a container of its own (`pods.py`), as `python -m tests.k8s.scaling FOLDER SLOTS`: a queue on a cluster that an autoscaler grows.

The cluster is Ray's own imitation of a cloud, whose nodes are raylets of this machine: one CPU each, one to three of them, autoscaler v2.
Three retrains are wanted and held. Prints how many nodes they began on, then lets them go on.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import ray
import yaml

from lmeraser_ray.session import Session
from lmeraser_ray.train import train
from tests.conftest import World
from tests.distributed.test_queue import RANDOM, Place, serving, until
from tests.gated import Gate

HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
"""The id that Ray's imitation of a cloud gives its head."""


def start_cluster(folder: Path) -> None:
    """A head without CPUs, and an autoscaler that may have three workers."""
    example = Path(ray.__file__).parent / "autoscaler" / "_private" / "fake_multi_node" / "example.yaml"
    config = yaml.safe_load(example.read_text())
    config["provider"] |= {"launch_multiple": True, "head_node_id": HEAD}
    config["available_node_types"] = {
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 1, "max_workers": 3},
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
    }
    config["max_workers"] = 3
    described = folder / "cluster.json"
    described.write_text(json.dumps(config))
    asked = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1"}
    asked |= {"RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD}
    words = ["ray", "start", "--head", "--num-cpus=0", f"--autoscaling-config={described}", "--include-dashboard=false"]
    subprocess.run(words, env={**os.environ, **asked}, check=True)


def workers() -> int:
    """Nodes that live and have a CPU."""
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) >= 1 for node in ray.nodes())


def main(folder: Path, slots: str) -> None:
    """Train four shards here, then erase from three of them on the cluster."""
    world = World(folder / "world")
    root = world.space()
    train(Session(root), world.config(**RANDOM))
    start_cluster(folder)
    ray.init(address="auto", logging_level="error", log_to_driver=False)
    until(lambda: workers() == 1, "the one worker that is always there")
    (folder / "gate").mkdir()
    place = Place(world, Session(root), Gate(folder / "gate"))
    ids = [place.submit(records[0]) for records in place.lanes()[:3]]
    with serving(place, execution__slots=slots):
        until(lambda: len(place.gate.begun()) == 3, "three trainings at once")
        print("workers", workers())
        place.gate.open()
        until(lambda: place.certified(*ids), "certificates")
    print("certified")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
