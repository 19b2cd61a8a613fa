"""Workers of one run under a real Slurm: three pretend nodes on this machine.

Called by ctest and `./dev cluster` as: slurm_test.py WAYFARER DATA. It needs root, slurm-wlm and munge, and ends with code 77 (skipped)
where one is missing. Everything that it starts lives in one temporary folder and is ended by its process id.
"""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

NODES = ("n1", "n2", "n3")
TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "sinfo", "squeue", "scancel", "scontrol")


def free_ports(count):
    """So many TCP ports in a row that nobody listens on."""
    for first in range(21800, 32000, 50):
        try:
            for port in range(first, first + count):
                with socket.socket() as s:
                    s.bind(("", port))
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports for the cluster")


class Cluster:
    """munged, slurmctld and three slurmd."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.started = {}
        self.env = dict(os.environ, SLURM_CONF=str(self.folder / "slurm.conf"))
        port = free_ports(4)
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o400)
        self.folder.joinpath("state").mkdir()
        # Times are short, so that a lost node is noticed within the test.
        self.folder.joinpath("slurm.conf").write_text(f"""ClusterName=wayfarer
SlurmctldHost={socket.gethostname()}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={self.folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdTimeout=5
KillWait=5
MinJobAge=600
MpiDefault=none
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/%n.pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/%n.log
NodeName=n[1-3] NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port=[{port + 1}-{port + 3}] CPUs=2 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")
        self.run("munged", "--key-file", "munge.key", "--socket", "munge.socket", "--pid-file", "munged.pid", "--log-file", "munged.log",
                 "--seed-file", "munged.seed", "--force", paths=True)
        self.run("slurmctld", "-f", self.env["SLURM_CONF"])
        for node in NODES:
            self.start(node)
        self.wait(lambda: self.idle() == len(NODES), 30, "three idle nodes")

    def run(self, *words, paths=False, check=True):
        if paths:
            words = [str(self.folder / w) if "." in w and not w.startswith("-") else w for w in words]
        done = subprocess.run(words, env=self.env, cwd=self.folder, text=True, capture_output=True, timeout=120, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, node):
        self.folder.joinpath(node).mkdir(exist_ok=True)
        self.run("slurmd", "-f", self.env["SLURM_CONF"], "-N", node)

    def idle(self):
        states = self.run("sinfo", "-h", "-N", "-o", "%t").split()
        return sum(s in ("idle", "mix", "alloc") for s in states)

    @staticmethod
    def wait(holds, seconds, what):
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise RuntimeError(f"waited {seconds} s in vain for {what}")
            time.sleep(0.1)

    def processes_of(self, node):
        """The steps and tasks that run on a node: they carry its name in their environment, or its slurmd is their parent."""
        mark = f"SLURMD_NODENAME={node}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in entry.joinpath("environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def kill_node(self, node):
        """As if its power went: the daemon, and all that runs there."""
        pid = int(self.folder.joinpath(f"{node}.pid").read_text())
        steps = [int(p) for p in subprocess.run(["pgrep", "-P", str(pid)], text=True, capture_output=True, check=False).stdout.split()]
        for process in [pid, *steps, *self.processes_of(node)]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def jobs(self):
        return self.run("squeue", "-h", "-r", "-t", "all", "-o", "%A %a %T").splitlines()

    def wait_for_all(self, seconds):
        ended = ("COMPLETED", "CANCELLED", "FAILED", "NODE_FAIL", "TIMEOUT")
        self.wait(lambda: all(line.split()[-1] in ended for line in self.jobs()), seconds, "the end of all jobs:\n" + "\n".join(self.jobs()))

    def stop(self):
        self.run("scancel", "--user=root", check=False)
        for name in [*NODES, "slurmctld", "munged"]:
            try:
                os.kill(int(self.folder.joinpath(f"{name}.pid").read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                continue
        time.sleep(0.5)
        for node in NODES:
            for process in self.processes_of(node):
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass


class UnderSlurm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="wayfarer-slurm-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.folder.joinpath("cluster").mkdir()
        try:
            cls.cluster = Cluster(cls.folder / "cluster")
        except RuntimeError as error:
            logs = "".join(f"\n{p.name}: {p.read_text()[-2000:]}" for p in cls.folder.joinpath("cluster").glob("*.log"))
            raise RuntimeError(f"{error}{logs}") from error
        cls.addClassCleanup(cls.cluster.stop)
        texts = ", ".join(f'"Then Anna and Ben went to Rome {"a" * (i % 7 + 1)}"' for i in range(1500))
        cls.pipeline = cls.folder / "rows.yaml"
        cls.pipeline.write_text(f"""nodes:
  t: {{source: text, texts: [{texts}]}}
  m: {{model: gpt2, path: {DATA}/tiny-gpt2}}
  states: {{probe: activations, model: m, source: t, hooks: ["blocks.*.hook_resid_post"], block: 1}}
  means: {{probe: activations, model: m, source: t, hooks: ["blocks.*.hook_resid_post"], keep: mean, block: 1}}
  loss: {{probe: language_loss, model: m, source: t, block: 2}}
""")
        cls.cluster.run(WAYFARER, "run", cls.pipeline, "--out", cls.folder / "alone.h5", "--reproducible", "--quiet")
        cls.expected = cls.sha("alone.h5")

    @classmethod
    def sha(cls, name):
        return hashlib.sha256(cls.folder.joinpath(name).read_bytes()).hexdigest()

    def submit(self, name, *more):
        """Submits an array; returns the job's number."""
        said = self.cluster.run(WAYFARER, "submit", self.pipeline, "--out", self.folder / name, *more)
        self.assertRegex(said, r"^submitted: job \d+, \d workers; job \d+ writes ")
        return said.split()[2].rstrip(",")

    def assert_whole(self, name):
        logs = "".join(f"\n{p.name}: {p.read_text()}" for p in sorted(self.folder.glob("wayfarer-*.log")))
        self.assertTrue(self.folder.joinpath(name).exists(), logs)
        self.assertEqual(self.sha(name), self.expected)

    def units(self, name):
        return sum(1 for _ in self.folder.joinpath(name + ".work").glob("??/*.block"))

    def test_an_array_and_the_merge_after_it(self):
        self.submit("array.h5", "--array", "4")
        self.cluster.wait_for_all(90)
        self.assert_whole("array.h5")

    def test_srun_over_three_nodes(self):
        self.cluster.run("srun", "-N", "3", WAYFARER, "run", self.pipeline, "--out", self.folder / "srun.h5", "--quiet")
        self.assert_whole("srun.h5")

    def test_a_node_dies_in_the_middle(self):
        self.submit("node.h5", "--array", "6", "--lease", "3")
        self.cluster.wait(lambda: self.units("node.h5") >= 100, 60, "the first hundred blocks")
        at_work = self.cluster.processes_of("n2")
        self.assertTrue(at_work, "no worker ran on n2")
        self.cluster.kill_node("n2")
        done = self.units("node.h5")
        self.cluster.wait(lambda: "down" in self.cluster.run("sinfo", "-h", "-n", "n2", "-o", "%t"), 60, "Slurm to miss n2")
        self.cluster.start("n2")
        self.cluster.wait_for_all(240)
        self.assertLess(done, 3750, "the run was over before the node died")
        self.assert_whole("node.h5")

    def test_an_element_that_was_cancelled_is_submitted_again(self):
        job = self.submit("again.h5", "--array", "2", "--lease", "3")
        self.cluster.wait(lambda: self.units("again.h5") >= 100, 60, "the first hundred blocks")
        self.cluster.run("scancel", f"{job}_2")
        self.cluster.run("sbatch", "--array=2", self.folder / "again.h5.workers.sbatch")
        self.cluster.wait_for_all(120)
        self.assert_whole("again.h5")


if __name__ == "__main__":
    WAYFARER, DATA = (str(Path(p).resolve()) for p in sys.argv[1:3])
    missing = [t for t in TOOLS if not shutil.which(t)]
    if missing or os.geteuid() != 0:
        why = f"{', '.join(missing)} not here ('./dev cluster' installs slurm-wlm and munge)" if missing else "Slurm's daemons need root"
        print(f"skipped: {why}")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
