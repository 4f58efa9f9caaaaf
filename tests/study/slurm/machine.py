"""A real SLURM of one machine in a temporary folder: munged, slurmctld and slurmd, stopped again at the end.

Wants the Debian packages slurmctld, slurmd, slurm-client and munge, and to run as root. The node's cores are this
machine's. No control groups, no accounts: what a container allows.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
SchedulerParameters=sched_interval=1,batch_sched_delay=0,requeue_delay=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory_mb} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> list[str]:
    """Programs that are not installed."""
    return [program for program in PROGRAMS if not shutil.which(program, path=_path())]


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start the daemons; gives the environment in which SLURM's commands find them."""
    for part in ("munge", "state", "spool", "bin"):
        (folder / part).mkdir(parents=True)
    (folder / "munge").chmod(0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 500
    settings = {"host": socket.gethostname().split(".")[0], "folder": folder, "ports": _free_ports()}
    text = CONFIGURATION.format(**settings, cores=os.cpu_count(), memory_mb=memory_mb)
    configuration = folder / "slurm.conf"
    configuration.write_text(text)
    for client in CLIENTS:
        # Snakemake's plugin takes SLURM's variables from its jobs: the commands themselves must know the place.
        script = folder / "bin" / client
        script.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {shutil.which(client, path=_path())} "$@"\n')
        script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{_path()}"}
    environment = {name: value for name, value in environment.items() if not name.startswith("SLURM")}
    munge = [f"--key-file={key}", f"--socket={folder}/munge/socket"]
    munge += [f"--{part}-file={folder}/munge/{part}" for part in ("pid", "log", "seed")]
    daemons = [
        ["munged", "--foreground", "--force", *munge],
        ["slurmctld", "-D", "-f", str(configuration)],
        ["slurmd", "-D", "-f", str(configuration)],
    ]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for daemon in daemons:
            with (folder / f"{daemon[0]}.out").open("wb") as out:
                running.append(subprocess.Popen(daemon, env=environment, stdout=out, stderr=out))
            time.sleep(1)
        _wait_until_idle(folder, environment)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, check=False, capture_output=True)
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_idle(folder: Path, environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 60
    state = ""
    while time.monotonic() < deadline:
        told = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True)
        if (state := told.stdout) and set(state.split()) == {"idle"}:
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
    raise RuntimeError(f"SLURM did not come up ({state or told.stderr}):\n{logs}")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _path() -> str:
    """The daemons lie in sbin, which not every shell searches."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"
