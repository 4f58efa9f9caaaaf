"""`sardino reproduce`, on one machine or as jobs of a cluster, and `sardino kubernetes`."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[str, typer.Option(help="Folder of real chips; only the real profile needs one.")]


def reproduce(
    profile: Annotated[str, typer.Argument(help="smoke, laptop, real, paper, or the path of a .toml file.")] = "laptop",
    data: DataOption = "",
    cores: Annotated[int | None, typer.Option(min=1, help="CPU cores; all by default, one run on each.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="A run's name (see plan); with all it needs.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a failed run is tried again.")] = 1,
    slurm: Annotated[bool, typer.Option("--slurm", help="Each run is a job of this SLURM cluster.")] = False,
    partition: Annotated[str, typer.Option(help="SLURM partition; the cluster's default otherwise.")] = "",
    account: Annotated[str, typer.Option(help="SLURM account; your default otherwise.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="SLURM jobs at a time.")] = 20,
    device: Annotated[str, typer.Option(help="What a job runs on: its time and memory follow (see plan).")] = "cpu-1",
    hours: Annotated[float | None, typer.Option(help="The longest a SLURM job may ask for.")] = None,
    sbatch: Annotated[str, typer.Option(help="More for sbatch, as in '--gres=gpu:1'.")] = "",
    kubernetes: Annotated[
        Path | None, typer.Option(help="Each run is a Kubernetes job, as this folder says (sardino kubernetes).")
    ] = None,
) -> None:
    """Make all tables and figures of a profile.

    Only what is stale runs: stop it with Ctrl-C whenever you like, the same command goes on from there.
    A run that fails leaves its notebook, with the traceback, in build/<profile>/failed/; the others finish.
    It is tried again first, unless its fault is one of the input, which another try would meet again.
    """
    from sardino.workflow.cluster import Cluster, Kubernetes, Slurm
    from sardino.workflow.reproduce import reproduce as run_all

    cluster: Cluster | None = None
    if slurm:
        cluster = Slurm(device, hours, partition, account, jobs, sbatch)
    elif kubernetes:
        cluster = Kubernetes(device, hours, kubernetes)
    raise typer.Exit(run_all(profile, data, cores, only or (), retries=retries, cluster=cluster))


def kubernetes_profile(
    folder: Annotated[Path, typer.Argument(help="Where to; nothing there is overwritten.")],
) -> None:
    """Write a Snakemake profile that runs a sweep as Kubernetes jobs.

    Edit job.yaml in it: the image, and the volume claim that holds this project's folder with its .venv, mounted at the
    path it has here. Then start, where the volume is mounted too: sardino reproduce PROFILE --kubernetes FOLDER
    """
    from sardino.workflow.kubernetes import write_profile
    from sardino.workflow.workspace import project_root

    for path in write_profile(folder, project_root()):
        typer.echo(path)
