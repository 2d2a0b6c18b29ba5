"""A program under Scratch sees its own changes, the disk sees none of them, and afterwards nothing is left replaced."""

import bz2
import contextlib
import copy
import errno
import glob
import hashlib
import importlib
import io
import logging
import multiprocessing
import os
import pathlib
import pickle
import random
import shelve
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from trainrecipe.capture.scratch.scratch import Scratch

FAILING = """
import os
from os import listdir, stat
kept = [listdir]
os.mkdir("only here")
os.chdir("only here")
1 / 0
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project that is the current folder: files, folders, links inside and out, and a folder elsewhere."""
    root = tmp_path / "project"
    plant(root)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def scratch(tmp_path, project):
    """An entered Scratch; when the test is over, the project must be what it was, to the byte and the time stamp."""
    before = fingerprint(project)
    with Scratch(tmp_path / "scratch") as entered:
        yield entered
    assert fingerprint(project) == before


def plant(root):
    (root / "data" / "train").mkdir(parents=True)
    (root / "empty").mkdir()
    for name in ("train.py", "notes.txt", "data/labels.csv", "data/train/0.txt", "data/train/1.txt"):
        (root / name).write_text(f"contents of {name}\n")
    (root / "link.txt").symlink_to("notes.txt")
    (root / "inside").symlink_to("data/train")
    (root / "dangling").symlink_to("not there")
    for place in (root / "notes.txt", root / "data" / "train", root / "data"):
        os.utime(place, ns=(10**18, 10**18 + 7))


def fingerprint(root):
    """Path, kind, permissions, time of change and contents of all there is."""
    found = {}
    for place in [root, *root.rglob("*")]:
        info = place.lstat()
        contents = b""
        if place.is_symlink():
            contents = os.fsencode(os.readlink(place))
        elif place.is_file():
            contents = hashlib.sha256(place.read_bytes()).digest()
        found[str(place.relative_to(root))] = (info.st_mode, info.st_mtime_ns, info.st_ino, contents)
    return found


def names(scratch, project):
    return [os.path.relpath(path, project) for path in scratch.written]


def held(modules):
    """Every callable that is reachable by name, by identity."""
    return {(module.__name__, key): value for module in modules for key, value in list(vars(module).items()) if callable(value)}


# -- what a program does to files


def test_writing_appending_and_changing_in_place(scratch, project):
    with open("new.txt", "w") as f:
        assert f.name == "new.txt"
        f.write("fresh")
    with open("notes.txt", "a") as f:
        f.write("more\n")
    with open(project / "train.py", "r+b") as f:
        f.write(b"CONTENTS")
    Path("data/labels.csv").write_text("replaced")
    os.truncate("data/train/0.txt", 3)
    assert Path("new.txt").read_text() == "fresh"
    assert (project / "notes.txt").read_text() == "contents of notes.txt\nmore\n"
    with io.open("train.py") as f:  # noqa: UP020
        assert f.read() == "CONTENTS of train.py\n"
    assert os.path.getsize("data/labels.csv") == 8
    assert Path("data/../inside/0.txt").read_text() == "con"
    assert names(scratch, project) == ["data/labels.csv", "data/train/0.txt", "new.txt", "notes.txt", "train.py"]


def test_exclusive_creation_and_descriptors(scratch, project):
    with pytest.raises(FileExistsError) as caught:
        os.open("notes.txt", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    assert caught.value.filename == "notes.txt"
    fd = os.open("lock", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    assert os.write(fd, b"1") == 1
    os.close(fd)
    assert stat.S_IMODE(os.stat("lock").st_mode) == 0o600
    folder = os.open("data", os.O_RDONLY)
    inner = os.open("made.txt", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
    os.close(inner)
    os.unlink("labels.csv", dir_fd=folder)
    assert sorted(os.listdir(folder)) == ["made.txt", "train"]
    os.close(folder)
    with pytest.raises(FileNotFoundError):
        os.stat("data/labels.csv")
    assert names(scratch, project) == ["data/made.txt", "lock"]


def test_removing_hides_and_remaking_shows_only_the_new(scratch, project):
    os.remove("notes.txt")
    assert not os.path.exists("notes.txt")
    assert not os.path.exists("link.txt")
    assert os.path.islink("link.txt")
    assert "notes.txt" not in os.listdir()
    assert not os.access("notes.txt", os.R_OK)
    with pytest.raises(FileNotFoundError, match=r"'notes\.txt'"):
        Path("notes.txt").read_text()
    shutil.rmtree("data")
    assert not os.path.isdir("inside")
    os.makedirs("data/train")
    assert os.listdir("data") == ["train"]
    assert list(Path("inside").iterdir()) == []
    assert scratch.written == []


def test_renaming_files_and_folders(scratch, project):
    os.replace("notes.txt", "train.py")
    os.rename("data", "moved")
    assert Path("train.py").read_text() == "contents of notes.txt\n"
    assert not Path("notes.txt").exists()
    assert sorted(os.listdir("moved")) == ["labels.csv", "train"]
    assert Path("moved/train/1.txt").read_text() == "contents of data/train/1.txt\n"
    assert not os.path.isdir("data")
    with pytest.raises(OSError, match="not empty") as caught:
        os.rename("empty", "moved")
    assert caught.value.errno == errno.ENOTEMPTY
    assert (caught.value.filename, caught.value.filename2) == ("empty", "moved")
    os.rename("moved", "data")
    assert Path("inside/0.txt").exists()


def test_folders_and_listings_in_every_way(scratch, project):
    os.makedirs("runs/a/b")
    Path("runs/a/b/x.txt").touch()
    Path("data/train/2.txt").write_text("two")
    os.unlink("data/train/0.txt")
    with pytest.raises(OSError, match="not empty"):
        os.rmdir("runs")
    with pytest.raises(FileExistsError):
        os.mkdir("data")
    assert sorted(os.listdir(b"inside")) == [b"1.txt", b"2.txt"]
    assert sorted(glob.glob("**/*.txt", recursive=True)) == [
        *("data/train/1.txt", "data/train/2.txt", "inside/1.txt", "inside/2.txt"),
        *("link.txt", "notes.txt", "runs/a/b/x.txt"),
    ]
    assert sorted(str(p) for p in Path().rglob("?.txt")) == ["data/train/1.txt", "data/train/2.txt", "runs/a/b/x.txt"]
    assert [top for top, _, _ in os.walk("runs")] == ["runs", "runs/a", "runs/a/b"]
    with os.scandir("data/train") as found:
        entries = {e.name: e for e in found}
    assert entries["2.txt"].path == "data/train/2.txt"
    assert entries["2.txt"].stat().st_size == 3
    assert entries["1.txt"].is_file()
    assert Path(entries["2.txt"]).read_text() == "two"
    with os.scandir() as found:
        folders = sorted(e.name for e in found if e.is_dir())
    assert folders == ["data", "empty", "inside", "runs"]
    os.removedirs("empty")
    assert "empty" not in os.listdir(project)


def test_shutil(scratch, project):
    assert shutil.copy("notes.txt", "data") == "data/notes.txt"
    shutil.copy2("notes.txt", "copy.txt")
    assert os.stat("copy.txt").st_mtime_ns == 10**18 + 7
    shutil.move("train.py", "empty")
    shutil.copytree("data", "backup", symlinks=True)
    shutil.rmtree(Path("data"))
    assert sorted(p.name for p in Path("backup").rglob("*")) == ["0.txt", "1.txt", "labels.csv", "notes.txt", "train"]
    assert Path("empty/train.py").read_text() == "contents of train.py\n"
    assert shutil.disk_usage("backup") == shutil.disk_usage(project)
    archive = shutil.make_archive("all", "zip", "backup")
    shutil.unpack_archive(archive, "unpacked")
    assert Path("unpacked/train/1.txt").exists()


def test_links_permissions_and_times(scratch, project):
    os.symlink("data/labels.csv", "labels")
    Path("labels").write_text("through the link")
    assert Path("data/labels.csv").read_text() == "through the link"
    assert os.readlink("labels") == "data/labels.csv"
    os.link("notes.txt", "second")
    with open("second", "a") as f:
        f.write("!")
    assert Path("notes.txt").read_text().endswith("!")
    os.chmod("train.py", 0o600)
    os.utime("data", ns=(5, 5))
    assert stat.S_IMODE(os.stat("train.py").st_mode) == 0o600
    assert os.stat("data").st_mtime_ns == 5
    with open("dangling", "w") as f:
        f.write("made")
    assert Path("not there").read_text() == "made"
    assert Path("inside").resolve() == project / "data" / "train"


def test_a_link_out_of_a_place_that_is_left_alone_does_not_leak(scratch, project):
    with tempfile.TemporaryDirectory() as elsewhere:
        os.symlink(project, f"{elsewhere}/way")
        Path(elsewhere, "way", "notes.txt").write_text("changed")
        assert Path("notes.txt").read_text() == "changed"
        shutil.move(f"{elsewhere}/way/train.py", f"{elsewhere}/train.py")
        assert not Path("train.py").exists()
        assert Path(elsewhere, "train.py").exists()


def test_changing_the_folder_to_one_that_exists_only_in_scratch(scratch, project):
    os.makedirs("out/deep")
    os.chdir("out")
    assert os.getcwd() == str(project / "out")
    assert Path.cwd() == project / "out"
    Path("here.txt").write_text("x")
    os.chdir("deep")
    assert Path("../../notes.txt").read_text() == "contents of notes.txt\n"
    assert os.path.abspath("a") == str(project / "out" / "deep" / "a")
    os.chdir("../../data")
    assert subprocess.run(["cat", "labels.csv"], capture_output=True).stdout == b"contents of data/labels.csv\n"
    assert names(scratch, project) == ["out/here.txt"]


# -- what libraries do


def test_logging_and_compressed_files(scratch, project):
    handler = logging.FileHandler("log.txt")
    logging.getLogger("scratch test").addHandler(handler)
    logging.getLogger("scratch test").error("line")
    logging.getLogger("scratch test").removeHandler(handler)
    handler.close()
    with bz2.open("x.bz2", "wt") as f:
        f.write("packed")
    assert Path("log.txt").read_text() == "line\n"
    with bz2.open("x.bz2", "rt") as f:
        assert f.read() == "packed"


def test_numpy(scratch, project):
    np = pytest.importorskip("numpy")
    numbers = np.arange(6.0)
    np.save("a.npy", numbers)
    np.savetxt("a.txt", numbers)
    numbers.tofile("a.bin")
    np.memmap("a.map", dtype="f8", mode="w+", shape=6)[:] = numbers
    os.remove("notes.txt")
    for read in (np.load("a.npy"), np.loadtxt("a.txt"), np.fromfile("a.bin"), np.memmap("a.map", dtype="f8", mode="r")):
        assert (read == numbers).all()
    assert np.load("a.npy", mmap_mode="r+").sum() == 15
    with pytest.raises(OSError, match="not found"):
        np.loadtxt("notes.txt")


def test_torch_whose_writers_are_not_python(scratch, project):
    torch = pytest.importorskip("torch")
    value = torch.arange(4.0)
    os.mkdir("ckpt")
    torch.save({"x": value}, "ckpt/a.pt")
    torch.save(value, Path("notes.txt"))
    torch.save(value, "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(torch.load("ckpt/a.pt")["x"], value)
    assert torch.equal(torch.load("ckpt/a.pt", mmap=True)["x"], value)
    assert torch.equal(torch.load(project / "notes.txt"), value)
    assert torch.equal(torch.load("old.pt"), value)
    os.replace("ckpt/a.pt", "ckpt/last.pt")
    assert os.listdir("ckpt") == ["last.pt"]
    with pytest.raises(RuntimeError, match="missing does not exist"):
        torch.save(value, "missing/a.pt")
    torch.from_file("mapped", shared=True, size=4).copy_(value)
    assert torch.equal(torch.from_file("mapped", size=4), value)
    with torch.profiler.profile() as profile:
        torch.ones(2) @ torch.ones(2)
    profile.export_chrome_trace("trace.json")
    assert "mapped" in os.listdir()
    assert "trace.json" in os.listdir()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_and_export(scratch, project):
    torch = pytest.importorskip("torch")
    module = torch.jit.script(torch.nn.Linear(2, 2))
    module.save("m.pt")
    torch.jit.save(module, "n.pt")
    torch.jit.script(lambda_free).save("f.pt")
    assert torch.equal(torch.jit.load("m.pt").weight, torch.jit.load("n.pt").weight)
    exported = torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),))
    torch.export.save(exported, "e.pt2")
    assert torch.export.load("e.pt2").state_dict.keys() == {"weight", "bias"}
    assert names(scratch, project) == ["e.pt2", "f.pt", "m.pt", "n.pt"]


def lambda_free(x: int) -> int:
    return x


def test_safetensors_and_hdf5(scratch, project):
    torch = pytest.importorskip("torch")
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    save_file({"x": torch.ones(2)}, "a.safetensors")
    assert load_file(Path("a.safetensors"))["x"].sum() == 2
    with safe_open("a.safetensors", framework="pt") as f:
        assert list(f.keys()) == ["x"]
    h5py = pytest.importorskip("h5py")
    with h5py.File("a.h5", "w") as f:
        f["x"] = 1
    with h5py.File(name="a.h5", mode="a") as f:
        f["y"] = 2
    assert sorted(h5py.File("a.h5")) == ["x", "y"]
    assert names(scratch, project) == ["a.h5", "a.safetensors"]


def query(database, text, **options):
    with contextlib.closing(sqlite3.connect(database, **options)) as connection:
        found = connection.execute(text).fetchall()
        connection.commit()
    return found


def test_databases(project, tmp_path):
    for name in ("kept.db", "read.db"):
        query(name, "create table t as select 1 as x")
    before = fingerprint(project)
    with Scratch(tmp_path / "scratch") as scratch:
        query(project / "kept.db", "pragma journal_mode=wal")
        query(b"kept.db", "insert into t values (2)")
        assert query("file:kept.db?mode=ro", "select sum(x) from t", uri=True) == [(3,)]
        assert query("read.db", "select x from t") == [(1,)]
        assert query(":memory:", "select 5") == [(5,)]
        with shelve.open("shelf") as shelf:
            shelf["a"] = [1]
        with shelve.open("shelf", "r") as shelf:
            assert shelf["a"] == [1]
        assert "kept.db" in names(scratch, project)
        assert "read.db" not in names(scratch, project)
    assert fingerprint(project) == before


def test_forked_workers_share_the_scratch_folder(scratch, project):
    def work():
        os.mkdir("from worker")
        shutil.copy("notes.txt", "from worker/notes.txt")
        Path("data/train/0.txt").write_text("changed")

    assert Path("data/train/0.txt").exists()  # so that this process has looked there before
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join()
    assert Path("from worker/notes.txt").read_text() == "contents of notes.txt\n"
    assert Path("data/train/0.txt").read_text() == "changed"
    assert names(scratch, project) == ["data/train/0.txt", "from worker/notes.txt"]


def test_stand_ins_can_be_copied_and_sent_to_other_processes(scratch, project):
    assert copy.deepcopy([open, os.open]) == [open, os.open]
    code = f"import os, pickle; assert pickle.loads({pickle.dumps([open, os.open, os.stat])}) == [open, os.open, os.stat]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_as_an_attribute_of_a_class_it_does_not_bind(scratch, project):
    class Reader:
        start = open

    with Reader().start("notes.txt") as f:
        assert f.read() == "contents of notes.txt\n"


def test_importing_a_module_of_the_project_leaves_no_bytecode(project, tmp_path, monkeypatch):
    Path("own_module_of_the_project.py").write_text("VALUE = 3")
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before = fingerprint(project)
    with Scratch(tmp_path / "scratch"):
        assert importlib.import_module("own_module_of_the_project").VALUE == 3
    assert fingerprint(project) == before
    assert not sys.dont_write_bytecode


def test_threads_that_change_one_file_at_once(scratch, project):
    def add():
        for _ in range(50):
            with open("notes.txt", "a") as f:
                f.write("x\n")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Path("notes.txt").read_text() == "contents of notes.txt\n" + "x\n" * 200


# -- the frame around it


def test_some_places_are_left_alone(project, tmp_path):
    kept = project / ".trainrecipe"
    with Scratch(tmp_path / "scratch", leave=[kept]) as scratch, tempfile.TemporaryDirectory() as temporary:
        kept.mkdir()
        Path(".trainrecipe/run.jsonl").write_text("event")
        Path(temporary, "a").write_text("a")
        with tempfile.NamedTemporaryFile(dir=".", delete=False) as inside:
            inside.write(b"x")
        assert os.path.exists(inside.name)
        with open(os.devnull, "w") as f:
            f.write("gone")
        assert subprocess.run(["cat", f"{temporary}/a"], capture_output=True).stdout == b"a"
        assert scratch.written == [inside.name]
    assert (kept / "run.jsonl").read_text() == "event"
    assert not os.path.exists(inside.name)
    assert scratch.written == [inside.name]


def test_everything_is_put_back(project, tmp_path):
    modules = [os, io, shutil, tempfile, glob, pathlib, bz2, sqlite3, importlib, sys.modules["builtins"]]
    modules += [sys.modules[name] for name in ("torch", "numpy", "safetensors", "h5py") if name in sys.modules]
    before = held(modules)
    sets = [set(getattr(os, name)) for name in ("supports_fd", "supports_dir_fd", "supports_follow_symlinks")]
    bytecode = sys.dont_write_bytecode
    os.mkdir("away")
    program = sys.modules["program"] = type(sys)("program")
    with pytest.raises(ZeroDivisionError), Scratch(tmp_path / "scratch"):
        exec(FAILING, vars(program))
    listdir = program.kept[0]
    assert listdir is not os.listdir
    assert held(modules) == before
    assert all(before[key] is value for key, value in held(modules).items())
    assert [set(getattr(os, n)) for n in ("supports_fd", "supports_dir_fd", "supports_follow_symlinks")] == sets
    assert sys.modules.pop("program").listdir is os.listdir
    assert program.stat is os.stat
    assert sys.dont_write_bytecode == bytecode
    assert os.getcwd() == str(project)
    assert listdir(b"empty") == []  # the one that was kept does what the original does
    assert "only here" not in listdir()


def test_only_one_at_a_time(scratch, tmp_path):
    with pytest.raises(RuntimeError, match="leave it first"), Scratch(tmp_path / "other"):
        pass
    Path("after.txt").touch()
    assert len(scratch.written) == 1


def test_importing_it_loads_no_torch():
    code = "import sys, trainrecipe.capture.scratch.scratch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_library_imported_later_is_redirected_too(project, tmp_path):
    pytest.importorskip("safetensors")
    code = """if True:
        import os, pathlib, sys
        from trainrecipe.capture.scratch.scratch import Scratch
        with Scratch(pathlib.Path(sys.argv[1])) as scratch:
            import numpy
            from safetensors.numpy import save_file
            save_file({"x": numpy.ones(2)}, "late.safetensors")
            print(*scratch.written)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "late"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{project}/late.safetensors\n"
    assert not os.path.exists("late.safetensors")


def test_reading_a_file_of_the_project_costs_little(project, tmp_path):
    def seconds():
        start = time.process_time()  # that of other processes is not ours
        for _ in range(1000):
            os.close(os.open("data/train/0.txt", os.O_RDONLY))
        return (time.process_time() - start) / 1000

    plain = min(seconds() for _ in range(10))
    with Scratch(tmp_path / "scratch"):
        Path("new").touch()
        os.remove("notes.txt")
        redirected = min(seconds() for _ in range(10))
    assert redirected - plain < 20e-6


# -- any sequence of operations


@pytest.mark.parametrize("seed", range(15))
def test_a_random_program_cannot_tell_the_difference(tmp_path, monkeypatch, seed):
    plant(tmp_path / "project")
    plant(tmp_path / "twin")
    program = [an_operation(rng) for rng in [random.Random(seed)] for _ in range(150)]
    monkeypatch.chdir(tmp_path / "twin")
    expected = [perform(*step, root=str(tmp_path / "twin")) for step in program]
    view = visible(tmp_path / "twin")
    before = fingerprint(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    with Scratch(tmp_path / "scratch"):
        for number, (step, result) in enumerate(zip(program, expected, strict=True)):
            assert perform(*step, root=str(tmp_path / "project")) == result, (number, step)
        assert visible(tmp_path / "project") == view
    assert fingerprint(tmp_path / "project") == before


def an_operation(rng):
    tops = ["data", "empty", "inside", "runs", "notes.txt", "train.py", "link.txt", "dangling", "new", "."]
    names = ["train", "0.txt", "1.txt", "labels.csv", "new", "runs"]
    usual = [
        "data",
        "data/train",
        "data/train/0.txt",
        "inside/1.txt",
        "notes.txt",
        "link.txt",
        "new",
        "new/train",
        "runs",
    ]

    def path():
        odd = "/".join([rng.choice(tops), *rng.choices(names, k=rng.choice([0, 0, 1, 1, 2]))])
        return rng.choice(["", "", "", "{root}/", "../{name}/"]) + rng.choice([odd, rng.choice(usual)])

    name, a, b = rng.choice(list(OPERATIONS)), path(), path()
    if name in ("rmdir", "rename", "replace", "move", "symlink"):  # the system has errors of its own for the name "."
        a, b = (p[:-1] + "data" if p.endswith(".") else p for p in (a, b))
    return name, a, b, rng.choice(["a", "bb", "ccc"])


def write(mode):
    def do(path, _, text):
        with open(path, mode) as f:
            f.write(text)
            return f.name

    return do


def scan(path, *_):
    with os.scandir(path) as found:
        return sorted((e.name, e.path, e.is_dir(), e.is_file(), e.is_symlink()) for e in found)


def size(path, *_):
    info = os.stat(path)
    return stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), info.st_size if stat.S_ISREG(info.st_mode) else 0


def into_itself(path, target):
    return os.path.realpath(target).startswith(os.path.realpath(path))


def copytree(path, target, _):
    if not into_itself(path, target):  # else it would never end
        shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True)


def move(path, target, _):
    return None if into_itself(path, target) else shutil.move(path, target)


def rmtree(path, *_):
    # On a link the two ways of removing a tree fail differently; of the root nothing would be left to compare.
    if not os.path.islink(path) and not os.getcwd().startswith(os.path.realpath(path)):
        shutil.rmtree(path)


OPERATIONS = {
    "write": write("w"),
    "append": write("a"),
    "change": write("r+"),
    "create": write("x"),
    "read": lambda a, b, text: Path(a).read_text(),
    "size": size,
    "link kind": lambda a, b, text: stat.S_IFMT(os.lstat(a).st_mode),
    "questions": lambda a, b, text: [f(a) for f in (os.path.exists, os.path.isdir, os.path.isfile, os.path.islink)],
    "list": lambda a, b, text: sorted(os.listdir(a)),
    "scan": scan,
    "glob": lambda a, b, text: sorted(glob.glob(a + "/*")),
    "rglob": lambda a, b, text: sorted(str(p) for p in Path(a).rglob("*")),
    "walk": lambda a, b, text: sorted((top, sorted(d), sorted(f)) for top, d, f in os.walk(a)),
    "mkdir": lambda a, b, text: os.mkdir(a),
    "makedirs": lambda a, b, text: os.makedirs(a, exist_ok=True),
    "rmdir": lambda a, b, text: os.rmdir(a),
    "remove": lambda a, b, text: os.remove(a),
    "rename": lambda a, b, text: os.rename(a, b),
    "replace": lambda a, b, text: os.replace(a, b),
    "symlink": lambda a, b, text: os.symlink(text + "/" + os.path.basename(a), b),
    "symlink here": lambda a, b, text: os.symlink(os.path.basename(a), b),
    "readlink": lambda a, b, text: os.readlink(a),
    "resolve": lambda a, b, text: os.path.realpath(a),
    "truncate": lambda a, b, text: os.truncate(a, 2),
    "chmod": lambda a, b, text: os.chmod(a, 0o640 if os.path.isfile(a) else 0o750),
    "utime": lambda a, b, text: os.path.exists(a) and (os.utime(a, ns=(9, 9)), os.stat(a).st_mtime_ns)[1],
    "copy": lambda a, b, text: shutil.copy(a, b),
    "copytree": copytree,
    "move": move,
    "rmtree": rmtree,
    "hard link": lambda a, b, text: os.link(a, b) if not os.path.isdir(a) else None,
    "chdir": lambda a, b, text: (os.chdir(a), os.getcwd())[1],
}


def perform(name, a, b, text, root):
    """The result of an operation, or its error, with the name of the root taken out."""
    base = os.path.basename(root)
    a, b = (path.replace("{root}", root).replace("{name}", base) for path in (a, b))
    try:
        result = OPERATIONS[name](a, b, text)
    except shutil.Error as error:
        result = ("shutil.Error", len(error.args[0]) if isinstance(error.args[0], list) else str(error))
    except OSError as error:
        result = (type(error).__name__, error.errno, str(error.filename), str(error.filename2))
    finally:
        os.chdir(root)
    return repr(result).replace(root, "ROOT").replace(f"../{base}", "../NAME")


def visible(root):
    """All that a program can see under a folder, other than times and inodes."""
    found = []
    for top, folders, files in os.walk(root):
        for name in folders + files:
            place = os.path.join(top, name)
            mode = os.lstat(place).st_mode
            contents = os.readlink(place) if stat.S_ISLNK(mode) else b""
            if stat.S_ISREG(mode):
                with open(place, "rb") as f:
                    contents = f.read()
            found.append((os.path.relpath(place, root), mode, contents))
    return sorted(found)
