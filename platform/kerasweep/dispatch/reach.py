"""Whether all machines of a cluster reach the folder of a study, found out before anything is trained."""

from __future__ import annotations

import secrets
from pathlib import Path

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kerasweep.errors import ResourceError, StorageError

_SECONDS = 60.0  # for a node to answer


def check_reach(folder: Path) -> None:
    """Has every node read what this process wrote there, and write something itself.

    Raises:
        ResourceError: a node cannot, or does not answer; the message names it.
        StorageError: this process cannot write there.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    token = secrets.token_hex(8)
    mark = folder / f"reach-{token}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(token)
    except OSError as error:
        raise StorageError(f"resources.storage must be writable. Received: {folder}: {error.strerror}") from error
    try:
        asked = {
            ray.remote(_look)
            .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
            .remote(str(mark)): node["NodeManagerAddress"]
            for node in nodes
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_SECONDS)
        problems = [f"{asked[one]} does not answer within {_SECONDS:.0f} seconds" for one in silent]
        for one in answered:
            try:
                answer = ray.get(one)
            except RayTaskError as error:
                answer = repr(error.cause)
            except RayError:  # a machine that has died meanwhile is no hindrance
                continue
            if answer != token:
                problems.append(f"{asked[one]}: {answer}")
    finally:
        for file in folder.glob(f"{mark.name}*"):
            file.unlink()
    if problems:
        raise ResourceError(
            "resources.storage must be a folder that every machine of the cluster reads and writes. "
            f"Received: {folder}, and of {len(nodes)} machines {'; '.join(problems)}"
        )


def _look(mark: str) -> str:
    """On a node: what stands in the file, after another one was written beside it; or what is wrong."""
    try:
        path = Path(mark)
        token = path.read_text()
        path.with_name(f"{path.name}-{secrets.token_hex(4)}").write_text(token)
    except OSError as error:
        return f"{error.strerror} ({error.filename})"
    return token
