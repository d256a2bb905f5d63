"""Processes that share the work of a run, on one or several machines.

They are started by torchrun (`torchrun --nproc-per-node 4 …`), by SLURM's srun, or by a training
itself (`run.processes`), and know each other through torch.distributed.
"""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import is_torchelastic_launched

from datasets.errors import UserError

PATIENCE = timedelta(hours=12)  # that a process waits for the others: the first one fits the prior
FIRST_PORT, PORTS = 20000, 10000  # where the processes of srun meet


def started_by_srun() -> bool:
    """Whether SLURM's srun started this process as one of several (`srun --ntasks 4 …`)."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def started_elsewhere() -> bool:
    """Whether torchrun or srun started this process as one of several."""
    return is_torchelastic_launched() or started_by_srun()


def join(device: torch.device, backend: str | None = None) -> torch.device:
    """Become one of the processes that the environment variables describe.

    Args:
        device: Where the processes compute; a GPU without a number stands for one each.
        backend: Of torch.distributed: `gloo`, or `nccl` for tensors on GPUs (by the device).

    Returns:
        The device of this process.

    Raises:
        UserError: srun does not say where this process runs, or `scontrol` fails.
    """
    if started_by_srun() and not is_torchelastic_launched():
        os.environ |= _variables_of_srun()
    os.environ.pop("SLURM_JOB_ID", None)  # where ignite sees it, it takes the ranks of SLURM
    if device.type == "cuda" and device.index is None:
        # SLURM may show each process its own GPU only
        number = int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count()
        device = torch.device("cuda", number)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # ignite takes a GPU wherever it sees one
    backend = backend or ("nccl" if device.type == "cuda" else "gloo")
    own = {"device_id": device} if backend == "nccl" else {}
    dist.init_process_group(backend, timeout=PATIENCE, **own)
    return device


def _variables_of_srun() -> dict[str, str]:
    """The variables that torch.distributed reads, from those of SLURM (`man srun`)."""
    slurm = os.environ
    try:
        nodes = slurm["SLURM_STEP_NODELIST"]
        first = subprocess.check_output(["scontrol", "show", "hostnames", nodes], text=True)
        step = int(slurm["SLURM_JOB_ID"]) + int(slurm["SLURM_STEP_ID"])
        return {
            "RANK": slurm["SLURM_PROCID"],
            "LOCAL_RANK": slurm["SLURM_LOCALID"],
            "WORLD_SIZE": slurm["SLURM_STEP_NUM_TASKS"],
            "MASTER_ADDR": first.split()[0],
            "MASTER_PORT": str(FIRST_PORT + step % PORTS),
        }
    except (KeyError, OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"srun did not say where the processes run ({error!r}): start them with torchrun"
        ) from error
