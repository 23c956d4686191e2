"""A cluster of several Ray nodes, one of which does not reach the study's folder."""

from __future__ import annotations

import re
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
lost, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
cluster.remove_node(lost, allow_graceful=False)  # as is known only after a while
check_reach(folder)
print("both", sorted(folder.iterdir()), flush=True)
start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--block"]
start.append(f"--address={cluster.address}")
hidden = f"mount -t tmpfs none {sys.argv[1]} && exec \\"$@\\""
third = subprocess.Popen(["unshare", "--mount", "sh", "-c", hidden, "sh", *start], stdout=subprocess.DEVNULL)
try:
    while len(ray.nodes()) < 4:
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
    lines = [line for line in done.stdout.splitlines() if line.startswith(("alone", "both", "resources"))]
    assert len(lines) == 3, done.stdout + done.stderr  # Ray may tell of the lost machine between them
    alone, both, told = lines
    assert (alone, both) == ("alone", "both []")
    assert told.startswith("resources.storage must be a folder that every machine of the cluster reads and writes.")
    assert re.search("and of [34] machines", told)  # as the lost one is still counted or not
    assert told.count("No such file or directory") == 1
