"""A cluster of several Ray nodes, one of which does not reach the study's folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: a process has one Ray, and other tests have theirs. The third node sees another, empty file
# system in the place of the folder's parent.
PROGRAM = """
import subprocess, sys, time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from kerasweep.dispatch.reach import check_reach
from kerasweep.errors import ResourceError

folder = Path(sys.argv[1]) / "studies" / "one" / "checkpoints"
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
ray.init(cluster.address, log_to_driver=False)
check_reach(folder)
print("alone", flush=True)
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
check_reach(folder)
print("both", sorted(folder.iterdir()), flush=True)
start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--block"]
start.append(f"--address={cluster.address}")
hidden = f"mount -t tmpfs none {sys.argv[1]} && exec \\"$@\\""
third = subprocess.Popen(["unshare", "--mount", "sh", "-c", hidden, "sh", *start], stdout=subprocess.DEVNULL)
try:
    while len(ray.nodes()) < 3:
        time.sleep(0.2)
    check_reach(folder)
except ResourceError as error:
    print(error, flush=True)
finally:
    third.terminate()
    third.wait()
"""


@pytest.mark.slow
def test_a_folder_that_a_machine_does_not_reach_is_told(tmp_path: Path) -> None:
    allowed = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True, check=False
    )
    if allowed.returncode:
        pytest.skip(f"a file system of one node's own takes root's rights: {allowed.stderr.decode().strip()}")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, timeout=240, check=False
    )
    lines = done.stdout.splitlines()
    assert len(lines) >= 3, done.stderr
    alone, both, told = lines[:3]
    assert (alone, both) == ("alone", "both []")
    assert told.startswith("resources.storage must be a folder that every machine of the cluster reads and writes.")
    assert "and of 3 machines" in told
    assert told.count("No such file or directory") == 1
