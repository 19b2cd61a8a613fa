"""Workers of one run under a real Slurm: three pretend nodes on this machine.

Called by ctest and `./dev cluster` as: slurm_test.py WAYFARER DATA. It needs root, slurm-wlm and munge, and ends with code 77 (skipped)
where one is missing. Everything that it starts lives in one temporary folder and is ended by its process id.
"""

import concurrent.futures
import hashlib
import os
import random
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
SlurmdParameters=config_overrides
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
NodeName=n[1-3] NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port=[{port + 1}-{port + 3}] CPUs=4 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")
        self.run("munged", "--key-file", "munge.key", "--socket", "munge.socket", "--pid-file", "munged.pid", "--log-file", "munged.log",
                 "--seed-file", "munged.seed", "--force", paths=True)
        self.run("slurmctld", "-f", self.env["SLURM_CONF"])
        for node in NODES:
            self.start(node)
        self.wait(lambda: self.idle() == len(NODES), 30, "three idle nodes")

    def run(self, *words, paths=False, check=True):
        words = [str(w) for w in words]
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
        return self.run("squeue", "-h", "-r", "-t", "all", "-o", "%F %a %T").splitlines()

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


def workers_of(mark):
    """The workers of a job, which carry its number in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.joinpath("comm").read_text() == "wayfarer\n" and mark.encode() in entry.joinpath("environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def pipelines(folder):
    """The four of tests/pipelines/workers.hpp: rows, trainings, walks, ablations. Name, file, settings."""
    texts = ", ".join(f'"Then Anna and Ben went to Rome {"a" * (i % 7 + 1)}"' for i in range(12))
    files = {
        "rows": f"""nodes:
  t: {{source: text, texts: [{texts}]}}
  m: {{model: gpt2, path: {DATA}/tiny-gpt2}}
  states: {{probe: activations, model: m, source: t, hooks: ["blocks.*.hook_resid_post"], block: 1}}
  means: {{probe: activations, model: m, source: t, hooks: ["blocks.*.hook_resid_post"], keep: mean, block: 1}}
  loss: {{probe: language_loss, model: m, source: t, block: 2}}
""",
        "training": """nodes:
  documents: {source: lda, documents: 300}
  learner: {model: topic_transformer, regime: R2, train: {source: documents, updates: 12, snapshots: [1, 5]}}
  structure: {probe: topic_blocks, model: learner, source: documents}
  contrast: {metric: group_contrast, of: structure/value_blocks}
  t: {source: text, texts: [abcabcabcabcabcabc, bcabcabcabcabca, cabcabcab, abcabcabcabc, bcabc]}
  small: {model: gpt2_trained, layers: 1, d_model: 8, heads: 2, context: 8, train: {source: t, updates: 6, batch: 2, snapshots: [0, 3]}}
  states: {probe: activations, model: small, source: t, hooks: ["blocks.*.hook_resid_post"], block: 2}
""",
        "ablations": f"""nodes:
  q: {{source: hellaswag, path: {DATA}/hellaswag/slice.txt}}
  lm: {{model: gpt2, path: {DATA}/tiny-gpt2}}
  clean: {{probe: activations, model: lm, source: q, items: 0:4, hooks: ["blocks.0.hook_resid_post"], keep: mean, block: 2}}
  cut: {{probe: activations, model: lm, source: q, items: 0:4, hooks: ["blocks.1.hook_resid_post"], keep: mean, block: 1, edits: [{{hook: blocks.0.attn.hook_z, heads: 1, set: zero}}]}}
  similarity: {{probe: concept_similarity, model: lm, source: q, items: 0:6, block: 2, sweep: {{scheme: [concat_all, sentences], norm: [none, l2]}}}}
  baseline: {{probe: cross_encoding, model: lm, source: q, items: 0:6, block: 2}}
  normalized: {{metric: normalized_accuracy, of: similarity, baseline: baseline}}
""",
    }
    all_of_them = []
    for name, text in files.items():
        folder.joinpath(f"{name}.yaml").write_text(text)
        all_of_them.append((name, folder / f"{name}.yaml", []))
    settings = ("greedy.length=5 sampled.length=5 beam.length=4 forced.length=6 encoding.items=0:6 forced.items=0:6 greedy.items=0:3 "
                "sampled.items=0:3 beam.items=0:2 encoding.block=2 greedy.block=1 forced.block=2").split()
    all_of_them.append(("walks", Path(DATA).parent / "walks.yaml", [word for s in settings for word in ("--set", s)]))
    return all_of_them


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


    def cells(self):
        """Four pipelines, and for each the numbers of workers and threads."""
        folder = self.folder / "grid"
        folder.mkdir(exist_ok=True)
        for name, file, settings in pipelines(folder):
            alone = f"grid/{name}.h5"
            if not self.folder.joinpath(alone).exists():
                self.cluster.run(WAYFARER, "run", file, "--out", self.folder / alone, "--reproducible", "--quiet", "--threads", "1", *settings)
            for workers in (1, 2, 3, 5):
                for threads in (1, 2, 4):
                    yield f"{name}, {workers} workers, {threads} threads", self.sha(alone), file, settings, workers, threads

    def test_srun_with_any_number_of_workers_and_threads(self):
        def run(cell):
            name, expected, file, settings, workers, threads = cell
            result = f"grid/srun {name}.h5"
            self.cluster.run("srun", "-n", str(workers), WAYFARER, "run", file, "--out", self.folder / result, "--quiet", "--work",
                             self.folder / f"{result}.work", "--threads", str(threads), *settings)
            return name, self.sha(result) == expected

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            done = list(pool.map(run, self.cells()))
        self.assertEqual([name for name, same in done if not same], [])
        self.assertEqual(len(done), 48)
        print(f"srun: {len(done)} cells, one SHA-256 for each pipeline", flush=True)

    def test_arrays_with_any_number_of_workers_and_threads(self):
        expected = {}
        for name, sha, file, settings, workers, threads in self.cells():
            result = "grid/array-" + name.replace(", ", "-").replace(" ", "-") + ".h5"
            self.cluster.run(WAYFARER, "submit", file, "--out", self.folder / result, "--array", str(workers), "--cpus", str(threads), *settings)
            expected[result] = sha
        self.cluster.wait_for_all(300)
        logs = "".join(f"\n{p.name}: {p.read_text()}" for p in sorted(self.folder.joinpath("grid").glob("wayfarer-*.log")) if p.stat().st_size)
        self.assertEqual([r for r, sha in expected.items() if not self.folder.joinpath(r).exists() or self.sha(r) != sha], [], logs)
        self.assertEqual(len(expected), 48)
        print(f"Slurm arrays: {len(expected)} cells, one SHA-256 for each pipeline", flush=True)

    def kill_some(self, name, mark, goes_on, most):
        """Kills workers of a job, each when some more is finished, while it goes on; how many died."""
        kills = 0
        while goes_on() and kills < most:
            aim = self.units(name) + random.randrange(40)
            while goes_on() and self.units(name) < aim:
                time.sleep(0.02)
            workers = workers_of(mark)
            if not workers:
                time.sleep(0.02)
                continue
            victim = random.choice(workers)
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue
            kills += 1
            while Path(f"/proc/{victim}/exe").exists():
                time.sleep(0.005)
        return kills

    def assert_clean(self, name):
        """The same command once more finds the result, and what is left of the dead goes with the folder."""
        self.assert_whole(name)
        work = self.folder / f"{name}.work"
        self.cluster.run(WAYFARER, "run", self.pipeline, "--out", self.folder / name, "--work", work, "--quiet")
        self.assert_whole(name)
        self.cluster.run(WAYFARER, "clean", work)
        self.assertFalse(work.exists())

    def test_kills_under_srun(self):
        kills = 0
        for count in range(1, 40):
            if kills >= 25:
                break
            name = f"killed-{count}.h5"
            words = [str(w) for w in ("srun", "-n", "6", "--job-name", name, WAYFARER, "run", self.pipeline, "--out", self.folder / name, "--quiet", "--lease", "20")]
            with subprocess.Popen(words, env=self.cluster.env, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as step:
                kills += self.kill_some(name, f"SLURM_JOB_NAME={name}", lambda step=step: step.poll() is None, 5)
            # It ends well if none died; the result is there in any case as long as one came to the end.
            self.cluster.run(*words)
            self.assert_clean(name)
        self.assertGreaterEqual(kills, 25)
        print(f"srun: {kills} kills", flush=True)

    def test_kills_of_an_array(self):
        kills = 0
        for count in range(1, 40):
            if kills >= 25:
                break
            name = f"killed-array-{count}.h5"
            job = self.submit(name, "--array", "6", "--lease", "20")
            ended = lambda job=job: all(line.split()[-1] not in ("PENDING", "RUNNING", "COMPLETING") for line in self.jobs() if line.split()[0] == job)
            kills += self.kill_some(name, f"SLURM_ARRAY_JOB_ID={job}", lambda: not ended(), 5)
            self.cluster.wait_for_all(120)
            # All of them may have died.
            self.cluster.run("sbatch", "--wait", self.folder / f"{name}.workers.sbatch")
            self.assert_clean(name)
        self.assertGreaterEqual(kills, 25)
        print(f"Slurm arrays: {kills} kills", flush=True)


if __name__ == "__main__":
    WAYFARER, DATA = (str(Path(p).resolve()) for p in sys.argv[1:3])
    missing = [t for t in TOOLS if not shutil.which(t)]
    if missing or os.geteuid() != 0:
        why = f"{', '.join(missing)} not here ('./dev cluster' installs slurm-wlm and munge)" if missing else "Slurm's daemons need root"
        print(f"skipped: {why}")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
