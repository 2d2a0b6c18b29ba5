"""A scan on Ray makes the table of a local scan, bit for bit, also where workers and nodes are lost on the way.

Ray is an extra that is large: what needs it is skipped where it is not installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainrecipe.scan.on_ray import AHEAD, connected, reader
from trainrecipe.scan.origin import made
from trainrecipe.scan.reading import Chunk
from trainrecipe.scan.scan import Elsewhere, scan
from trainrecipe.scan.splits import sources
from trainrecipe.table.store import Store
from trainrecipe.wrong_use import WrongUse

CLIENTS = 23001
"""Port of the test cluster for those who connect from outside."""
INSTALLED = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not INSTALLED, reason="Ray is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # Ray leaves sockets and files to the garbage collector

BEGINNING = """\
    import os, random, signal, sys, time
    from pathlib import Path
    import numpy as np, torch
    from PIL import Image
    from sklearn.datasets import load_digits
    from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split

    HERE = Path({folder!r})
    SCANNING = {pid}                         # the process that scans, and not Ray's workers

    class Digits(Dataset):
        def __init__(self, n=1797):
            self.images = (load_digits().images * 15).astype(np.uint8)[:n]
            self.labels = load_digits().target[:n]

        def __len__(self):
            return len(self.images)

        def __getitem__(self, i):
            return torch.from_numpy(self.images[i])[None].float(), int(self.labels[i])
"""


def _written(folder: Path, text: str, name: str = "data") -> str:
    beginning = textwrap.dedent(BEGINNING).format(folder=str(folder), pid=os.getpid())
    (folder / f"{name}.py").write_text(beginning + textwrap.dedent(text))
    return f"{folder / name}.py:splits"


def _contents(store: Store) -> dict[str, Any]:
    """All that is in a table; NaN as a word, so that it equals itself."""
    with store.connect() as db:
        found: dict[str, Any] = {name: repr(db.execute(f"SELECT * FROM {name}").fetchall()) for name in ("examples", "views")}
        found["columns"] = db.execute("DESCRIBE examples").fetchall()
    for name in ("thumbs.npy", "vectors.npy"):
        found[name] = (store.folder / name).read_bytes() if (store.folder / name).exists() else b""
    return found


def _same_by(target: str, folder: Path, elsewhere: Elsewhere | None = None) -> Store:
    """The table that Ray made, which is the one that was made without."""
    splits = sources(made(target))
    here = scan(splits, folder / "here")
    there = scan(splits, folder / "there", elsewhere=elsewhere or reader(target, splits))
    assert _contents(here) == _contents(there)
    assert here.manifest.parts == there.manifest.parts
    assert [(s.name, s.read, s.failed) for s in here.manifest.splits] == [
        (s.name, s.read, s.failed) for s in there.manifest.splits
    ]
    return there


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    if not INSTALLED:
        pytest.skip("Ray is not installed")
    with connected("ray"):
        yield


# ---- the same table

SPLITS = """
    class Pictures(Dataset):
        '''Read from files through random transforms; some are broken, one is of another size.'''
        classes = ["even", "odd"]

        def __init__(self, files):
            self.files = files
            self.transform = lambda image: torch.from_numpy(np.asarray(image.rotate(random.uniform(-9, 9))).copy())[None] / 255

        def __len__(self):
            return len(self.files)

        def __getitem__(self, i):
            with Image.open(self.files[i]) as image:
                return self.transform(image.convert("L")), i % 2

    class Reviews(Dataset):
        def __len__(self):
            return 700

        def __getitem__(self, i):
            words = " ".join(f"word{i * k % 97}" for k in range(3 + i % 19))
            return {"text": f"It was a long story, and {words}", "label": ["bad", "good"][i % 2], "score": i / (i % 50)}

    class Marked(Dataset):
        '''Opens what it reads from in its loader's workers.'''
        factor = 1.0

        def __len__(self):
            return 300

        def __getitem__(self, i):
            return torch.full((5,), self.factor * i), i % 3

    def set_factor(worker):
        Marked.factor = 2.0

    def splits():
        digits = load_digits()
        whole = TensorDataset(torch.tensor(digits.images, dtype=torch.float32)[:, None], torch.tensor(digits.target))
        train, test = random_split(whole, [1500, 297], torch.Generator().manual_seed(0))
        return {
            "train": train,
            "test": DataLoader(test, batch_size=32),
            "pictures": Pictures(sorted(HERE.glob("*.png"))),
            "reviews": Reviews(),
            "marked": DataLoader(Marked(), num_workers=1, worker_init_fn=set_factor),
        }
"""


def _pictures(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(600):
        size = 24 if i == 77 else 16
        Image.fromarray(rng.integers(0, 255, (size, size), np.uint8)).save(folder / f"{i:03d}.png")
    for i in (5, 333, 599):
        (folder / f"{i:03d}.png").write_bytes(b"broken")


@pytest.mark.usefixtures("ray_here")
def test_the_table_is_that_of_a_local_scan(tmp_path: Path) -> None:
    _pictures(tmp_path)
    state = torch.get_rng_state()
    store = _same_by(_written(tmp_path, SPLITS), tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    assert store.manifest.split("pictures").random
    assert store.manifest.split("pictures").failed == 4
    with store.connect() as db:  # of an example whose data set is opened in a worker
        (norm,) = db.execute("SELECT max(table_norm) FROM examples WHERE split = 'marked'").fetchone()
    assert norm == pytest.approx(2 * 299 * 5**0.5)


@pytest.mark.usefixtures("ray_here")
def test_chunks_come_in_order_and_few_are_on_their_way(tmp_path: Path) -> None:
    target = _written(
        tmp_path,
        """
        class Noted(Digits):
            def __getitem__(self, i):
                if os.getpid() != SCANNING:
                    (HERE / "read" / str(i)).touch()
                return super().__getitem__(i)

        def splits():
            return {"train": Noted()}
        """,
    )
    import ray

    most = AHEAD * int(ray.cluster_resources()["CPU"])
    (tmp_path / "read").mkdir()
    splits = sources(made(target))
    proof = {0, 598, 1197, 1796}

    def elsewhere(split: str, chunks: list[np.ndarray], manner: Any) -> Iterator[Chunk]:
        smaller = np.array_split(np.concatenate(chunks), 300)
        for n, chunk in enumerate(reader(target, splits)(split, smaller, manner)):
            assert chunk.columns["index"].tolist() == smaller[n].tolist()
            read = {int(p.name) for p in (tmp_path / "read").iterdir()} - proof
            assert max(read) < smaller[n + most][0] if n + most < 300 else True
            yield chunk

    scan(splits, tmp_path / "table", elsewhere=elsewhere)


# ---- losses


@pytest.mark.usefixtures("ray_here")
def test_chunks_of_a_worker_that_was_killed_are_read_again(tmp_path: Path) -> None:
    target = _written(
        tmp_path,
        """
        class Killed(Digits):
            def __getitem__(self, i):
                flag = HERE / f"killed at {i}"
                if i in (700, 1300) and os.getpid() != SCANNING and not flag.exists():
                    flag.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().__getitem__(i)

        def splits():
            return {"train": Killed()}
        """,
    )
    _same_by(target, tmp_path)
    assert len(list(tmp_path.glob("killed at *"))) == 2


@pytest.mark.usefixtures("ray_here")
def test_an_example_that_ends_each_worker_is_told_and_the_scan_can_go_on_here(tmp_path: Path) -> None:
    target = _written(
        tmp_path,
        """
        class Deadly(Digits):
            def __getitem__(self, i):
                if i == 1500 and os.getpid() != SCANNING:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().__getitem__(i)

        def splits():
            return {"train": Deadly()}
        """,
    )
    splits = sources(made(target))
    with pytest.raises(WrongUse, match=r"train, examples 1280 to 1535: Ray lost each worker"):
        scan(splits, tmp_path / "table", elsewhere=reader(target, splits))
    assert scan(splits, tmp_path / "table").manifest.split("train").read == 1797


# ---- what is told


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("failing", "raise OSError('no such disk: /data')", r"splits raised OSError on \S+: no such disk: /data"),
        ("leaving", "sys.exit('usage: data.py ROOT')", r"splits raised SystemExit on \S+: usage: data.py ROOT"),
        ("shorter", "return {'train': Digits(1000)}", r"train is another data set on \S+"),
        ("shuffled", "whole.labels = whole.images = whole.images[::-1].copy()", r"train is another data set on \S+"),
        ("renamed", "return {'test': whole}", r"renamed.py:splits makes no split 'train' on \S+"),
    ],
)
def test_what_differs_there_is_told(tmp_path: Path, name: str, body: str, said: str) -> None:
    text = f"""
        def splits():
            whole = Digits()
            if os.getpid() != SCANNING:
                {body}
            return {{"train": whole}}
        """
    target = _written(tmp_path, text, name)
    splits = sources(made(target))
    with pytest.raises(WrongUse, match=said):
        scan(splits, tmp_path / "table", elsewhere=reader(target, splits))


@needs_ray
def test_addresses_are_checked() -> None:
    with pytest.raises(WrongUse, match=r"--on cluster is no address of Ray: say `ray`"), connected("cluster"):
        pass
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for on in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(WrongUse, match=rf"no connection to Ray by --on {on}: .*refused"), connected(on):
            pass


@pytest.mark.skipif(INSTALLED, reason="Ray is installed")
def test_where_ray_is_missing_its_extra_is_named() -> None:
    with pytest.raises(WrongUse, match=r"pip install 'trainrecipe\[ray\]'"), connected("ray"):
        pass


# ---- the command


def _recipe(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainrecipe", *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def test_data_of_a_script_cannot_be_read_there(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)")
    done = _recipe("data", "train.py", "--on", "ray", cwd=tmp_path)
    assert done.returncode == 2
    assert "--on ray: Ray's workers cannot reach the data sets in the process of train.py" in done.stderr


@needs_ray
def test_the_command_reads_on_ray_and_streams_here(tmp_path: Path) -> None:
    _written(
        tmp_path,
        """
        class Stream(IterableDataset):
            def __iter__(self):
                for i in range(1200):
                    yield torch.full((4,), float(i)), i % 2

        def splits():
            if os.environ.get("RAY_JOB_ID"):
                (HERE / "there").touch()
            return {"train": Digits(), "stream": Stream()}
        """,
    )
    tables = {}
    for on in ((), ("--on", "ray")):
        done = _recipe("data", "data.py:splits", "--probe-seconds", "0", *on, cwd=tmp_path)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        tables[on] = Store.open(tmp_path / ".trainrecipe" / "data" / "data-py-splits")
        assert (tmp_path / "there").exists() == bool(on)
        tables[on] = _contents(tables[on])
    assert tables[()] == tables["--on", "ray"]
    assert "read on this machine, since a stream cannot be entered in its middle: stream" in done.stdout


# ---- clusters; these tests are the last ones, since a process has one connection


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of one node, in processes of its own."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()  # of the tests before
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "ray_client_server_port": CLIENTS})
    yield made
    made.shutdown()


@needs_ray
def test_a_node_is_lost_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Any) -> None:
    target = _written(
        tmp_path,
        """
        class Slow(Digits):
            def __len__(self):
                return 9000

            def __getitem__(self, i):
                time.sleep(0.0005)
                image, label = super().__getitem__(i % 1797)
                return image + i // 1797, label

        def splits():
            if os.getpid() != SCANNING:
                import ray
                assert Path.cwd() != HERE                    # the code was sent
                (HERE / "nodes" / ray.get_runtime_context().get_node_id()).touch()
            return {"train": Slow()}
        """,
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nodes").mkdir()
    second = cluster.add_node(num_cpus=1)
    with connected(cluster.address):
        read = reader(target, sources(made(target)))

        def elsewhere(split: str, chunks: list[np.ndarray], manner: Any) -> Iterator[Chunk]:
            for n, chunk in enumerate(read(split, chunks, manner)):
                if n == 8:
                    cluster.remove_node(second, allow_graceful=False)
                yield chunk

        _same_by(target, tmp_path, elsewhere)
    assert len(list((tmp_path / "nodes").iterdir())) == 2


@needs_ray
def test_a_cluster_is_reached_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Any) -> None:
    pytest.importorskip("grpc")
    (tmp_path / "numbers.csv").write_text("1,2,3\n" * 500)
    target = _written(
        tmp_path,
        """
        def splits():
            rows = np.loadtxt("numbers.csv", delimiter=",", dtype=np.float32)  # sent with the code
            return TensorDataset(torch.from_numpy(rows) + torch.arange(500)[:, None])
        """,
    )
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(600 * 2**20)
    with pytest.raises(WrongUse, match=r"(?s)no connection to Ray by --on .*exceeds the maximum"), connected(cluster.address):
        pass
    (tmp_path / "large.bin").unlink()
    for _ in range(300):  # it starts after the cluster
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", CLIENTS)):
            break
        time.sleep(0.1)
    with connected(f"ray://127.0.0.1:{CLIENTS}"):
        _same_by(target, tmp_path)
