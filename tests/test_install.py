"""install.py: which build of torch it takes, what it runs for that, and what it leaves when something fails.

It runs as a reader runs it, in a folder with a short lock; a script stands in for the environment's Python, notes the
commands it is given and answers as a test says. No test needs network.
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import installer

ROOT = Path(__file__).resolve().parent.parent
LOCK = """# made by hand
numpy==2.4.6 \\
    --hash=sha256:aa
nvidia-cublas==13.1.1.3 ; sys_platform == 'linux' \\
    --hash=sha256:bb
torch==2.14.1 \\
    --hash=sha256:cc
    # via torchvision
torchvision==0.29.1 \\
    --hash=sha256:dd
triton==3.8.0 ; sys_platform == 'linux' \\
    --hash=sha256:ee
uv==0.13.9 \\
    --hash=sha256:ff
"""
CHECKS = ("-I -c", "-m pip config", "-m uv cache")
UNREACHABLE = ["--dry-run", 2, "error: Failed to fetch: https://download.example/whl/torch/"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there torch has two builds")


@pytest.fixture
def clone(tmp_path):
    """A folder with install.py, a lock, and an environment in which nothing was installed by it."""
    root = tmp_path / "clone"
    folder = root / ".venv" / "bin"
    folder.mkdir(parents=True)
    (root / ".venv" / "pyvenv.cfg").write_text("")
    shutil.copy(ROOT / "install.py", root)
    (root / "requirements.lock").write_text(LOCK)
    (root / "pyproject.toml").write_text("")
    return root


@pytest.fixture(autouse=True)
def gpu(tmp_path):
    """Put an nvidia-smi on PATH that finds no driver; call this to make it list a GPU."""
    folder = tmp_path / "tools"
    folder.mkdir()
    smi = folder / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not communicate with the driver'; exit 9\n")
    smi.chmod(0o755)
    return lambda: smi.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'\n")


def install(clone, *answers, fake=True, arguments=(), **environment):
    """Exit code, what was said, and the commands that the environment's Python was given besides its own checks.

    `answers` are [part of a command, exit code, what the environment's Python says to it].
    """
    log = clone.with_name("commands")
    log.write_text("")
    if fake:
        answers = [f'*{shlex.quote(part)}*) echo "{says}"; exit {code} ;;' for part, code, says in answers]
        python = clone / ".venv" / "bin" / "python"
        lines = ["#!/bin/sh", f'echo "$*" >> {shlex.quote(str(log))}', 'case "$*" in', *answers, "esac"]
        python.write_text("\n".join(lines))
        python.chmod(0o755)
    keep = {name: value for name, value in os.environ.items() if name != "CPU" and not name.startswith("UV_")}
    path = f"{clone.parent / 'tools'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run([sys.executable, clone / "install.py", *arguments], env=keep | {"PATH": path} | environment,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    commands = [line for line in log.read_text().splitlines() if not line.startswith(CHECKS)]
    return done.returncode, done.stdout + done.stderr, commands


def ready(clone):
    return (clone / ".venv" / ".ready").exists()


def packages(clone):
    return (clone / ".venv" / "packages.txt").read_text()


def test_without_a_gpu_the_cpu_build_and_all_else_by_hash(clone):
    code, said, commands = install(clone)
    assert code == 0 and ready(clone)
    assert "the CPU build of torch, because no NVIDIA GPU is found" in said
    probe, packages_, project = commands
    assert "--dry-run" in probe and "torch==2.14.1 torchvision==0.29.1" in probe
    assert "--torch-backend=cpu" in packages_ and "packages.txt" in packages_
    assert project.endswith(f"--no-build-isolation --editable {clone}")
    assert "torch==2.14.1\ntorchvision==0.29.1\n" in packages(clone)
    assert "nvidia" not in packages(clone) and "triton" not in packages(clone)
    assert "numpy==2.4.6 \\\n    --hash=sha256:aa" in packages(clone)


@pytest.mark.parametrize(
    "has_gpu, answers, environment, why",
    [
        (True, [], {}, "this machine has an NVIDIA H100 80GB HBM3"),
        (False, [UNREACHABLE], {}, "cannot be reached from here"),
        (False, [], {"CPU": "0"}, "CPU=0 asks for it"),
    ],
)
def test_the_default_build_is_the_lock_and_nothing_unchecked(clone, gpu, has_gpu, answers, environment, why):
    if has_gpu:
        gpu()
    code, said, commands = install(clone, *answers, **environment)
    assert code == 0 and "the default build of torch, because " in said and why in said
    assert said.count("because") == 1
    assert "--require-hashes" in commands[-2] and "--torch-backend" not in commands[-2]
    assert packages(clone).strip() == LOCK.partition("\n")[2].partition("uv==")[0].strip()


def test_cpu_1_holds_on_a_machine_with_a_gpu_and_other_values_of_that_name_are_not_for_us(clone, gpu):
    gpu()
    assert "the CPU build of torch, because CPU=1 asks for it" in install(clone, CPU="1")[1]
    (clone / ".venv" / ".ready").unlink()
    assert "this machine has an NVIDIA" in install(clone, CPU="x86_64")[1]  # openSUSE sets it so


def test_cpu_1_where_that_build_cannot_be_reached_is_one_line_and_leaves_what_is_ready(clone):
    install(clone, CPU="0")
    code, said, commands = install(clone, UNREACHABLE, CPU="1")
    assert code == 1 and said.startswith("install: the CPU build of torch cannot be reached") and len(commands) == 1
    assert install(clone) == (0, "", [])


def test_what_is_ready_is_left_alone(clone, gpu):
    install(clone)
    gpu()  # the build that is there stays, whatever the machine has got
    for environment in ({}, {"CPU": "1"}):
        assert install(clone, **environment) == (0, "", [])


def test_the_other_build_replaces_the_one_that_is_there_with_its_libraries(clone):
    install(clone, CPU="0")
    site = clone / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("nvidia_cublas-13.1.1.3", "triton-3.8.0", "cuda_toolkit-13.0", "numpy-2.4.6"):
        (site / f"{name}.dist-info").mkdir(parents=True)
    code, _, commands = install(clone, CPU="1")
    assert code == 0
    assert "--reinstall-package=torch --reinstall-package=torchvision" in commands[-3]
    assert commands[-1].endswith("cuda-toolkit nvidia-cublas triton") and "uninstall" in commands[-1]
    _, _, commands = install(clone, CPU="0")
    assert "--reinstall-package=torch --reinstall-package=torchvision" in commands[-2]


@pytest.mark.parametrize("file", ["requirements.lock", "pyproject.toml"])
def test_a_change_of_what_is_needed_is_installed_over_what_is_there(clone, file):
    install(clone)
    with open(clone / file, "a") as changed:
        changed.write("# new\n")
    code, _, commands = install(clone)
    assert code == 0 and len(commands) == 3 and "--reinstall" not in commands[1]
    assert install(clone) == (0, "", [])


def test_a_clone_that_was_moved_is_installed_anew(clone):
    """Scripts and the editable install name the folder they were made in, which may hold another clone by now."""
    install(clone)
    moved = clone.rename(clone.with_name("moved"))
    _, _, commands = install(moved)
    assert "--reinstall" in commands[1] and str(moved) in commands[2]


@pytest.mark.parametrize(
    "says, line",
    [
        ("error: Failed to fetch: https://index.example/simple/numpy/", "https://index.example cannot be reached"),
        ("error: dns error", "the index of packages cannot be reached"),
        ("error: failed to write: No space left on device (os error 28)", "the disk is full: make room"),
        ("error: something\n  cause: Hash mismatch for numpy==2.4.6", "numpy==2.4.6 as it was fetched is not"),
        ("Error: [Errno 1] Operation not permitted: 'lib' -> '/x/.venv/lib64'", "this disk, like that of a stick, "),
        ("error: something new\n  cause: nobody knows", "failed (error: something new; cause: nobody knows)"),
    ],
)
@pytest.mark.parametrize("where", ["--requirement", "--editable"])
def test_a_failed_installation_is_one_line_and_does_not_count(clone, says, line, where):
    install(clone)
    (clone / "pyproject.toml").write_text("# new\n")
    code, said, _ = install(clone, ["--dry-run", 0, ""], [where, 2, says])
    assert code == 1 and not ready(clone)
    (error,) = [text for text in said.splitlines() if text.startswith("install: ")]
    assert line in error and said.endswith(error + "\n") and "Traceback" not in said
    code, _, commands = install(clone)
    assert code == 0 and ready(clone) and "--reinstall" in commands[1]  # what is there may be half of a package


def test_uv_comes_by_hash_if_it_is_not_there_in_the_locked_version(clone):
    _, _, commands = install(clone, ["m.version('uv') == '0.13.9'", 1, ""])
    assert "-m pip install" in commands[0] and "--require-hashes" in commands[0]
    assert (clone / ".venv" / "uv.txt").read_text() == "uv==0.13.9 \\\n    --hash=sha256:ff\n\n"


def wheel(folder, name):
    """Make what passes for a wheel; return the option of a lock that has its hash."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}-py3-none-any.whl").write_text(name)
    return f" \\\n    --hash=sha256:{hashlib.sha256(name.encode()).hexdigest()}\n"


@pytest.mark.parametrize("build", ["default", "cpu"])
def test_the_wheels_of_what_is_installed_are_fetched_with_their_hashes(clone, build):
    made, out = clone.with_name("made"), clone / "wheels of it"
    names = ["numpy-2.4.6", "uv-0.13.9", "torch-2.14.1"] if build == "default" else ["numpy-2.4.6", "uv-0.13.9"]
    lines = [f"{name.replace('-', '==')}{wheel(made, name)}" for name in names]
    others = LOCK[LOCK.index("nvidia") :].partition("uv==")[0]  # whose wheels are for other systems
    (clone / "requirements.lock").write_text("# by hand\n" + "".join(lines) + (others if build == "cpu" else ""))
    compiled = clone.with_name("compiled")
    of_cpu = f"torch==2.14.1+cpu{wheel(made, 'torch-2.14.1+cpu')}    # from https://download.example/whl/cpu\n"
    compiled.write_text(f"# by uv\n{of_cpu}")
    wheel(made, "numpy-1.0")  # of an earlier lock
    install(clone, CPU="1" if build == "cpu" else "0")
    answers = [
        ["uv pip compile", 0, f"$(cp {compiled} {clone / '.venv' / 'torch.txt'})"],
        ["pip download", 0, f"$(cp -r {made} '{out}')"],
    ]
    code, said, commands = install(clone, *answers, arguments=["--wheels", out])
    assert code == 0, said
    wanted = (clone / ".venv" / "wanted.txt").read_text()
    assert "--no-deps --only-binary=:all: --require-hashes" in commands[-1]
    if build == "cpu":
        assert "--torch-backend=cpu --no-deps --generate-hashes" in commands[0]
        assert "--extra-index-url=https://download.example/whl/cpu" in commands[1]
        assert of_cpu in wanted and "nvidia" not in wanted and "triton" not in wanted
    else:
        assert len(commands) == 1 and "index" not in commands[0] and "torch==2.14.1 \\" in wanted
    torch = f"torch-2.14.1{'+cpu' * (build == 'cpu')}"
    kept = {f"{name}-py3-none-any.whl" for name in ("numpy-2.4.6", "uv-0.13.9", torch)}
    assert {path.name for path in out.glob("*.whl")} == kept
    header, *packages_ = (out / "packages.txt").read_text().splitlines()
    facts = json.loads(header[2:])
    assert (facts["build"], facts["Python"], facts["packages"]) == (build, f"3.{sys.version_info[1]}", 2)
    expected = [f"{name.replace('-', '==')}{wheel(made, name)}" for name in ("numpy-2.4.6", torch)]
    expected = [" ".join(line.replace("\\", "").split()) for line in expected]
    assert [line.partition("  # ")[0] for line in packages_] == expected
    assert (out / "uv.txt").read_text().startswith("uv==0.13.9 --hash=sha256:")


def test_other_arguments_are_refused(clone):
    assert install(clone, arguments=["--wheel"]) == (2, "install: no arguments, or --wheels DIR\n", [])


def test_without_a_home_to_write_to_uv_keeps_its_cache_in_the_environment(clone, tmp_path):
    """A container run under another user id, a shared course server."""
    for cache, used in ((tmp_path / "made" / "later", ""), (".uv_cache", clone / ".venv" / "cache")):
        (clone / ".venv" / ".ready").unlink(missing_ok=True)
        said = ["uv cache dir", 0, str(cache)], ["--editable", 1, "cache in $UV_CACHE_DIR."]
        assert f"cache in {used}." in install(clone, *said)[1]


def test_an_environment_whose_python_is_gone_is_made_again(clone):
    (clone / ".venv" / "lib").mkdir()
    (clone / ".venv" / "bin").rmdir()
    code, said, _ = install(clone, fake=False, PIP_NO_INDEX="1")  # its pip then finds no uv
    assert code == 1 and "uv==0.13.9" in said and not ready(clone)
    assert subprocess.run([clone / ".venv" / "bin" / "python", "-c", "import pip"]).returncode == 0


def test_a_folder_of_that_name_that_is_no_environment_is_not_touched(clone):
    (clone / ".venv" / "pyvenv.cfg").rename(clone / ".venv" / "thesis.tex")
    code, said, _ = install(clone, fake=False)
    assert code == 1 and "is in the way" in said
    assert [path.name for path in (clone / ".venv").iterdir() if path.is_file()] == ["thesis.tex"]


@pytest.fixture
def module():
    """install.py as a module."""
    return installer(ROOT)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_there_is_one_build(module, monkeypatch, system):
    monkeypatch.setattr(module.sys, "platform", system)
    assert module.choose("cpu", None)[0] == "default"


def test_a_python_that_is_too_old_or_lacks_venv_is_one_line(module, monkeypatch, tmp_path):
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    environment = module.Environment(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(module.InstallError, match="Python 3.11 .* this is 3.9: "):
        patch.setattr(module.sys, "version_info", (3, 9, 6))
        environment.make()
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    with pytest.raises(module.InstallError, match="sudo apt install python3-venv"):
        environment.make()
    assert not environment.folder.exists()


def test_an_older_python_is_told_which_one_the_wheels_are_for(module, monkeypatch, tmp_path):
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    environment = module.Environment(tmp_path)
    made = {**environment.for_which(), "Python": "3.11", "build": "default", "packages": 0}
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "packages.txt").write_text(f"# {json.dumps(made)}\n")
    monkeypatch.delattr(module.hashlib, "file_digest")  # which is newer
    monkeypatch.setattr(module, "PYTHON", "3.9")
    with pytest.raises(module.InstallError, match=r"is for Python 3.11, not 3.9: run python3.11 install.py"):
        environment.install(None)


@pytest.mark.parametrize(
    "listed, gpu",
    [
        ("GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1)\n  MIG 3g.20gb Device 0: (UUID: MIG-2)", "NVIDIA A100-SXM4-40GB"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", None),
        ("No devices were found", None),
    ],
)
def test_what_nvidia_smi_lists(module, monkeypatch, listed, gpu):
    monkeypatch.setattr(module.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, listed))
    assert module.nvidia_gpu() == gpu


def test_uv_is_told_what_pip_was_told(module, monkeypatch):
    for name in module.PIP_SETTINGS.values():
        monkeypatch.delenv(name, raising=False)
    listed = (
        ":env:.find-links='/here'\nglobal.find-links='/there'\nglobal.index-url='https://mirror.example/simple'\n"
        "install.extra-index-url='https://a.example\\nhttps://b.example'\nglobal.timeout='60'\n"
    )
    told = {
        "UV_FIND_LINKS": "/here", "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://a.example https://b.example", "UV_INDEX_STRATEGY": "unsafe-best-match",
    }  # fmt: skip
    assert module.uv_settings(listed) == told
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine.example")
    assert "UV_DEFAULT_INDEX" not in module.uv_settings(listed)


def test_the_lock_is_read_whole_and_cuda_is_what_torch_needs_on_linux_alone(module):
    lock = module.read_lock(ROOT / "requirements.lock")
    assert {"torch", "torchvision", "uv", "setuptools"} <= {package.name for package in lock}
    (uv,) = [package for package in lock if package.name == "uv"]
    linux = [package.name for package in lock if "sys_platform == 'linux'" in package.lines.splitlines()[0]]
    assert [package.name for package in lock if module.CUDA.match(package.name)] == linux
    for requirement in module.requirements(lock, "cpu"):
        assert "--hash=sha256:" in requirement or requirement.startswith(("torch==", "torchvision=="))
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    wanted = [line for lines in module.requirements(lock, "default") for line in lines.splitlines()]
    assert [line for line in text.splitlines() if "==" in line and line not in wanted] == [f"uv=={uv.version} \\"]
