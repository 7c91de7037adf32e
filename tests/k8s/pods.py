"""Pods without Kubernetes: what the manifests say of containers, volumes, users and networks, by the kernel's own namespaces. Needs root.

    Node   a network with a bridge                    Pod        a network namespace on it with an address of its own, and volumes
    Container   a mount and a process namespace in a pod's network: its root holds the machine's programs, this package and its own mounts

A container sees no other's files, no processes of other pods, and its user has no capability: as in the manifests. Images, probes,
restarts and secrets are the caller's. All of it goes when the holding processes end.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PREFIX = "10.88.0."
OWN = {"proc", "sys", "dev", "tmp", "root", "home", "run", "mnt", "media", "srv", "boot", "lost+found"}
"""Top-level folders of the machine that a container does not get."""


def root_may() -> bool:
    """Whether this process can make namespaces and bridges."""
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "add", "br0", "type", "bridge"], capture_output=True, check=False
    )
    return done.returncode == 0


def held(*command: str) -> subprocess.Popen[bytes]:
    """A process that holds the namespaces it is started in, and says when it is."""
    process = subprocess.Popen([*command, "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"\n"
    return process


class Node:
    """A machine's network: pods get addresses on a bridge, and a hosts file that all of them read."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.hosts = folder, folder / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n")
        self._numbers, self._ended = count(2), list[subprocess.Popen[bytes]]()
        self.holder = self.keep(held("unshare", "--net"))
        for line in ("link add br0 type bridge", f"addr add {PREFIX}1/24 dev br0", "link set br0 up", "link set lo up"):
            self.ip(self.holder, line)

    def keep(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """End it with the node."""
        self._ended.append(process)
        return process

    def ip(self, holder: subprocess.Popen[bytes], line: str) -> None:
        """An `ip` command in the network of a process."""
        subprocess.run(["nsenter", f"--net=/proc/{holder.pid}/ns/net", "ip", *line.split()], check=True)

    def pod(self, name: str, *volumes: str, service: str = "", shared: bool = False) -> "Pod":
        """A new pod, with these empty volumes. service: a name for others; shared: its containers see each other's processes."""
        number = next(self._numbers)
        holder = self.keep(held("unshare", "--net", *(("--pid", "--fork", "--kill-child") if shared else ())))
        self.ip(self.holder, f"link add veth{number} type veth peer name eth0 netns {holder.pid}")
        self.ip(self.holder, f"link set veth{number} master br0 up")
        for line in (f"addr add {PREFIX}{number}/24 dev eth0", "link set eth0 up", "link set lo up", f"route add default via {PREFIX}1"):
            self.ip(holder, line)
        with self.hosts.open("a") as file:
            file.write(f"{PREFIX}{number} {name} {service}\n")
        made = {}
        for volume in volumes:
            made[volume] = self.folder / f"{name}-{volume}"
            made[volume].mkdir()
            made[volume].chmod(0o777)  # as the kubelet makes an emptyDir
        return Pod(self, name, f"{PREFIX}{number}", holder, made, shared)

    def close(self) -> None:
        """End everything, the last first."""
        for process in reversed(self._ended):
            process.kill()
            process.wait()


@dataclass
class Pod:
    """A network namespace and volumes, by name."""

    node: Node
    name: str
    address: str
    holder: subprocess.Popen[bytes]
    volumes: dict[str, Path] = field(default_factory=dict)
    shared: bool = False

    def start(
        self, name: str, words: Sequence[str], mounts: Mapping[str, Path], environment: Mapping[str, str], user: int = 1000
    ) -> "Container":
        """Start a container. mounts: folders of the machine by their place in it; words: the command and its arguments."""
        script = self.node.folder / f"{self.name}-{name}.sh"
        script.write_text(script_of(self.node.folder / f"{self.name}-{name}-root", mounts, self.node.hosts, user))
        log = self.node.folder / f"{self.name}-{name}.log"
        settings = {
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "HOME": "/home/ray",
            "USER": "ray",
            "PYTHONPATH": str(ROOT),
            "LANG": "C.UTF-8",
        }
        enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        if self.shared:
            enter += [f"--pid=/proc/{first_child(self.holder)}/ns/pid", "unshare", "--mount"]
        else:
            enter += ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        given = [f"{key}={value}" for key, value in {**settings, **environment}.items()]
        with log.open("ab") as sink:
            process = subprocess.Popen([*enter, "bash", str(script), "env", "-i", *given, *words], stdout=sink, stderr=sink)
        return Container(self.node.keep(process), log)

    def run(
        self, name: str, words: Sequence[str], mounts: Mapping[str, Path], environment: Mapping[str, str], seconds: float, user: int = 1000
    ) -> str:
        """Run a container to its end. Returns what it printed; fails where its exit code is not 0."""
        container = self.start(name, words, mounts, environment, user)
        code = container.process.wait(seconds)
        assert code == 0, f"{name} ended with {code}:\n{container.log.read_text()}"
        return container.log.read_text()


@dataclass(frozen=True)
class Container:
    """A running container: the process that holds it, and the file of what it prints."""

    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, seconds: float) -> int:
        """Ask its first process to end, as the kubelet does. Returns the exit code."""
        os.kill(first_child(self.process), signal.SIGTERM)
        return self.process.wait(seconds)


def first_child(process: subprocess.Popen[bytes]) -> int:
    """The process that a holding process forked."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def script_of(root: Path, mounts: Mapping[str, Path], hosts: Path, user: int) -> str:
    """What makes a container's root, and becomes the command in it as a user of group 100, without a capability."""
    lines = ["set -e", f"mkdir -p {root}", f"mount -t tmpfs -o mode=755 none {root}"]
    for entry in sorted(Path("/").iterdir()):
        if entry.is_symlink():
            lines.append(f"cp -a {entry} {root}{entry}")
        elif entry.is_dir() and entry.name not in OWN:
            lines += [f"mkdir {root}{entry}", f"mount --rbind {entry} {root}{entry}"]
    lines += [f"mkdir -p {root}/{name}" for name in ("proc", "sys", "dev", "tmp", "root", "run")]
    lines += [f"mount -t proc proc {root}/proc", f"mount --rbind /sys {root}/sys", f"mount --rbind /dev {root}/dev"]
    lines += [f"mkdir -p {root}/home/ray/lmeraser", f"chown -R 1000:100 {root}/home/ray", f"chmod 1777 {root}/tmp"]
    places = {**mounts, **{str(path): path for path in (Path(sys.base_prefix), Path(sys.prefix), ROOT)}}
    places["/home/ray/lmeraser/configs"] = ROOT / "configs"
    lines += [line for place, path in places.items() for line in (f"mkdir -p {root}{place}", f"mount --bind {path} {root}{place}")]
    lines += [f"mount --bind {hosts} {root}/etc/hosts"]
    powerless = "--no-new-privs --bounding-set=-all --inh-caps=-all"
    lines += [f'exec chroot {root} setpriv --reuid={user} --regid=100 --clear-groups {powerless} "$@"']
    return "\n".join(lines) + "\n"


def environment_of(container: Mapping[str, Any], given: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """A container's environment by its manifest. given: ConfigMaps and secrets, by name."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        [reference] = source.values()
        found.update(given[reference["name"]])
    for entry in container.get("env", ()):
        if "value" in entry:
            found[entry["name"]] = entry["value"]
        else:
            reference = entry["valueFrom"]["secretKeyRef"]
            found[entry["name"]] = given[reference["name"]][reference["key"]]
    return found
