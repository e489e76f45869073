"""Make or update .venv, the environment of the course: ``python3 install.py``, on Windows ``py install.py``.

Everything comes from requirements.lock, in the versions and with the hashes stated there. On Linux torch has two
builds: the default one with CUDA's libraries, and a small one for the CPU alone, taken where no NVIDIA GPU is found and
its index can be reached. The environment variable CPU decides otherwise: 1 for the small one, 0 for the default.

``python3 install.py --wheels DIR`` puts the wheels of what is installed into a folder. Where a folder ``wheels`` made
so lies beside this file, all is installed from there, without network: see ``mnist-ae bundle``.

Uses the standard library only, and tells a Python that is too old so.
"""

import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)
DISK_GB = {"cpu": 3, "default": 9 if sys.platform == "linux" else 3}  # of the packages, unpacked, while they are copied
TORCH = ("torch", "torchvision")
CUDA = re.compile(r"(nvidia|cuda|triton)\b")  # the packages that only the default build of torch needs
BUILDS = {"cpu": "the CPU build of torch", "default": "the default build of torch"}
# What uv has to know of pip's settings, so that a mirror, a proxy or a certificate need not be told twice.
PIP_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST", "cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY",
}  # fmt: skip
PROGRESS = re.compile(r"\s*(Resolved|Downloading|Downloaded|Prepared|Uninstalled|Installed|Bytecode)\b")
NO_SPACE = re.compile(r"no space left|disk quota|not enough space|os error (28|112|122)\b", re.IGNORECASE)
NO_LINKS = re.compile(r"operation not (permitted|supported).*lib64", re.IGNORECASE)
WRONG_HASH = re.compile(r"hash mismatch for `?([\w.=-]+)|do not match the hashes", re.IGNORECASE)
NO_NETWORK = re.compile(
    r"failed to fetch|error sending request|dns error|resolution|timed out|connection|proxy|certificate", re.IGNORECASE
)
# Of a folder of wheels: for which Python and system, how uv and pip take them, and what to do where one is damaged.
PYTHON = ".".join(map(str, sys.version_info[:2]))
SYSTEM = f"{platform.system()} {platform.machine()}"
OFFLINE = ["--no-index", "--find-links"]
AGAIN = "copy it again from where this folder came from; if it is no better there, have the bundle made anew"


class InstallError(Exception):
    """What stopped the installation, and what to do, in one line."""


class Environment:
    """The virtual environment in ``<root>/.venv``, and what its marker says of it.

    The marker ``.ready`` is written last and removed first, so that an installation that failed or was interrupted
    counts as none. It holds the build of torch, the folder, and a hash of the files that say what belongs in.
    """

    def __init__(self, root=ROOT):
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        self.marker = self.folder / ".ready"
        self.wheels = Wheels(root / "wheels")
        sources = b"".join((root / name).read_bytes() for name in ("requirements.lock", "pyproject.toml"))
        self.sources = hashlib.sha256(sources).hexdigest()

    def state(self):
        """What the marker says: a dict, empty if nothing was installed to the end in this folder."""
        try:
            state = json.loads(self.marker.read_text(encoding="utf-8"))
            return state if state["root"] == str(self.root) else {}  # scripts name the folder they were made for
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def is_ready(self, forced):
        """Whether all is installed, with the `forced` build of torch ("cpu", "default", or None for any)."""
        state = self.state()
        return (
            state.get("sources") == self.sources
            and forced in (None, state.get("build"))
            and self.can("import mnist_ae_utils")
        )

    def can(self, code):
        """Whether this environment's Python runs `code`; an update of the system may have taken it away."""
        try:
            command = [str(self.python), "-I", "-c", code]
            return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
        except OSError:
            return False

    def make(self):
        """Make the folder with Python and pip in it, or what of that is missing."""
        if not self.can(f"import sys; sys.exit(sys.version_info < {OLDEST})"):
            if sys.version_info < OLDEST:
                oldest, this = (".".join(map(str, version)) for version in (OLDEST, sys.version_info[:2]))
                raise InstallError(
                    f"Python {oldest} or later is needed, and this is {this}: install one and run this with it "
                    f"(python{oldest} install.py; with make: make PYTHON3=python{oldest})"
                )
            if not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
                raise InstallError(
                    "this Python comes without venv or ensurepip: install them and repeat the command (on Debian and "
                    "Ubuntu: sudo apt install python3-venv)"
                )
            if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / "pyvenv.cfg").exists():
                raise InstallError(f"{self.folder} is in the way, and no environment of Python: move it elsewhere")
            run([sys.executable, "-m", "venv", "--clear", "--without-pip", self.folder])
        if not self.can("import pip"):
            run([self.python, "-m", "ensurepip", "--default-pip"])

    def install(self, forced):
        """Install everything, from the wheels beside this file or else with the build of torch that `choose` names."""
        local = self.wheels.build(forced, self.for_which()) if self.wheels.folder.is_dir() else None
        try:
            self.install_from([*OFFLINE, self.wheels.folder] if local else [], local, forced)
        except InstallError:
            if local:
                self.wheels.check()  # which names the file that is to blame
            raise

    def install_from(self, source, local, forced):
        """Install everything, whatever is there already. `source` are options of pip and uv, empty for the network;
        `local` is what `Wheels.build` says, None without wheels.
        """
        before = self.state()
        anew = ["--reinstall"] if not before and self.can("pass") else []  # what is there may be half of it
        self.make()
        lock = read_lock(self.root / "requirements.lock")
        (locked,) = [package for package in lock if package.name == "uv"]
        if not self.can(f"import uv, importlib.metadata as m; assert m.version('uv') == '{locked.version}'"):
            pip = [self.python, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", "--require-hashes"]
            run([*pip, *source, "--requirement", self.wheels.uv if local else self.write("uv.txt", [locked.lines])])
        uv = [self.python, "-m", "uv", "pip"]
        settings = {"UV_CACHE_DIR": str(self.folder / "cache")} if local else self.settings()
        build, why = local or choose(forced, lambda: self.reaches_cpu_build(uv, lock, settings))
        print(f"{BUILDS[build]}, because {why}", flush=True)
        self.marker.unlink(missing_ok=True)
        install = [*uv, "install", "--python", self.python, "--no-deps", *source]
        if before and before["build"] != build:
            anew = [f"--reinstall-package={name}" for name in TORCH]
        options = ["--torch-backend=cpu"] if build == "cpu" and not local else ["--require-hashes"]
        wanted = self.wheels.packages if local else self.write("packages.txt", requirements(lock, build))
        run([*install, *options, *anew, "--compile-bytecode", "--requirement", wanted], settings, build)
        run([*install, "--no-build-isolation", "--editable", self.root], settings, build)
        unused = [name for name in self.installed() if CUDA.match(name)] if build == "cpu" else []
        if unused:
            run([*uv, "uninstall", "--python", self.python, *unused])
        if local:
            shutil.rmtree(self.folder / "cache", ignore_errors=True)  # it was for this installation alone
        state = {"build": build, "root": str(self.root), "sources": self.sources}
        self.marker.write_text(json.dumps(state), encoding="utf-8")

    def fetch(self, folder):
        """Put the wheels of all that is installed here into a folder, and `Wheels.write` the lists of them."""
        build = self.state()["build"]
        lock, index = read_lock(self.root / "requirements.lock"), []
        if build == "cpu":
            pins = self.write("torch.in", [package.pin for package in lock if package.name in TORCH])
            compiled = self.folder / "torch.txt"
            options = ["--torch-backend=cpu", "--no-deps", "--generate-hashes", "--emit-index-annotation"]
            run([self.python, "-m", "uv", "pip", "compile", "--python", self.python, *options, "--output-file",
                 compiled, pins], self.settings())  # fmt: skip
            others = [package for package in lock if package.name not in TORCH and not CUDA.match(package.name)]
            lock = others + read_lock(compiled)  # with hashes of this build
            addresses = re.findall(r"^ +# from (\S+)$", compiled.read_text(encoding="utf-8"), re.MULTILINE)
            index = [f"--extra-index-url={address}" for address in dict.fromkeys(addresses)]
        wanted = self.write("wanted.txt", [package.lines for package in lock])
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--progress-bar=off", "--dest", folder]
        run([self.python, "-m", "pip", "download", *options, *index, "--requirement", wanted], build=build)
        Wheels(folder).write(lock, {"build": build, **self.for_which()})

    def for_which(self):
        """What wheels must be for, by what each is called: this system, this Python, and this lock."""
        lock = digest(self.root / "requirements.lock")[:8]
        return {"system": SYSTEM, "Python": PYTHON, "requirements.lock": lock}

    def write(self, name, blocks):
        """The path of a new file of requirements in the environment."""
        path = self.folder / name
        path.write_text("\n".join(blocks) + "\n", encoding="utf-8")
        return path

    def installed(self):
        """Names of the packages that the environment holds."""
        found = self.folder.glob("lib/*/site-packages/*.dist-info")
        return sorted(path.name.split("-")[0].replace("_", "-") for path in found)

    def settings(self):
        """{environment variable: value} for uv: what pip was told, and a cache here where there is none at home."""
        told, cache = (
            subprocess.run([self.python, "-m", *command], capture_output=True, text=True).stdout
            for command in (["pip", "config", "list"], ["uv", "cache", "dir"])
        )
        settings = uv_settings(told)
        return settings if can_write(cache.strip()) else {**settings, "UV_CACHE_DIR": str(self.folder / "cache")}

    def reaches_cpu_build(self, uv, lock, settings):
        """Whether the CPU build of torch can be had from here: uv knows where it is published."""
        pins = [package.pin for package in lock if package.name in TORCH]
        options = ["--python", self.python, "--torch-backend=cpu", "--no-deps", "--dry-run", "--reinstall"]
        briefly = {**os.environ, **settings, "UV_HTTP_TIMEOUT": "15", "UV_HTTP_RETRIES": "1"}
        try:
            done = subprocess.run([*uv, "install", *options, *pins], capture_output=True, env=briefly, timeout=120)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


class Wheels:
    """A folder of wheels for one Python on one system, with two lists of them: uv, and what uv installs from there.

    Each line of a list names a package with its version, the hash of its wheel, and the wheel. The first line of the
    longer one says for which Python and system they are, and which build of torch is among them.
    """

    def __init__(self, folder):
        self.folder = folder
        self.packages, self.uv = folder / "packages.txt", folder / "uv.txt"

    def write(self, lock, facts):
        """Write the lists of the wheels that the packages in `lock` have in the folder; other wheels are removed."""
        files = {digest(path): path for path in self.folder.glob("*.whl")}
        found = [(package, hash) for package in lock for hash in package.hashes if hash in files]
        for hash in files.keys() - {hash for _, hash in found}:
            files[hash].unlink()
        lines = [f"{package.pin} --hash=sha256:{hash}  # {files[hash].name}" for package, hash in found]
        uv, others = ([line for line in lines if line.startswith("uv==") == is_uv] for is_uv in (True, False))
        header = json.dumps({**facts, "packages": len(others)})
        self.uv.write_text("\n".join([*uv, ""]), encoding="utf-8")
        # The last to be written: without it, the folder is not whole.
        self.packages.write_text("\n".join([f"# {header}", *others, ""]), encoding="utf-8")

    def build(self, forced, wanted):
        """The build of torch among the wheels, and why it is taken; InstallError if they are not what is `wanted`."""
        network = f"or remove {self.folder}, and all is fetched from the network"
        try:
            header, *lines = self.packages.read_text(encoding="utf-8").splitlines()
            made = json.loads(header[2:])
            build, are_for = made["build"], {name: made[name] for name in wanted}
            whole = made["packages"] == len(lines)
        except (OSError, ValueError, LookupError, TypeError):
            whole = False
        if not whole:
            raise InstallError(f"{self.packages} is missing or damaged: {AGAIN}, {network}")
        for name, value in are_for.items():
            if value != wanted[name]:
                cure = f"run python{value} install.py (on Windows: py -{value} install.py)"
                cure = cure if name == "Python" else "take one that is"
                raise InstallError(f"{self.folder} is for {name} {value}, not {wanted[name]}: {cure}, {network}")
        if forced not in (None, build):
            raise InstallError(f"{self.folder} holds {BUILDS[build]}, and no other: leave CPU out, {network}")
        return build, f"it is the one in {self.folder}"

    def check(self):
        """Raise InstallError for a wheel that is missing, or is not as the lists have it."""
        for line in (self.uv.read_text(encoding="utf-8") + self.packages.read_text(encoding="utf-8")).splitlines():
            if found := re.search(r"--hash=sha256:(\w+)  # (\S+)$", line):
                path = self.folder / found[2]
                if not path.exists():
                    raise InstallError(f"{path} is missing: {AGAIN}")
                if digest(path) != found[1]:
                    raise InstallError(f"{path} is damaged: {AGAIN}")


class Package:
    """What the lock says of a package: `name`, `version`, and the `lines`, with hashes and for which systems."""

    def __init__(self, lines):
        self.lines = lines
        self.name, self.version = re.match(r"([a-z0-9.-]+)==([^\s;\\]+)", lines).groups()
        self.pin = f"{self.name}=={self.version}"
        self.hashes = re.findall(r"--hash=sha256:(\w+)", lines)


def read_lock(path):
    """The packages of a lock file; one may stand there twice, for older and for newer Pythons."""
    return [Package(lines) for lines in re.split(r"\n(?=[a-z0-9])", path.read_text(encoding="utf-8"))[1:]]


def requirements(lock, build):
    """The lines of `lock` for a build of torch, without uv, which cannot replace itself on Windows.

    For the CPU build CUDA's libraries are left out, and the hashes of torch: its wheels have the same version but
    others, and the lock cannot state them without naming the index. All else is checked.
    """
    lock = [package for package in lock if package.name != "uv"]
    if build == "default":
        return [package.lines for package in lock]
    needed = [package for package in lock if not CUDA.match(package.name)]
    return [package.pin if package.name in TORCH else package.lines for package in needed]


def digest(path):
    """SHA-256 of a file, as hexadecimal digits."""
    found = hashlib.sha256()  # hashlib.file_digest would need Python 3.11, and an older one is to be told so
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def nvidia_gpu():
    """Name of the first NVIDIA GPU, or None."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^GPU \d+: ([^(\n]+)", listed, re.MULTILINE)
    return found and found[1].strip()


def choose(forced, reaches_cpu_build):
    """The build of torch to install, "cpu" or "default", and why in a few words."""
    if sys.platform != "linux":
        return "default", "it is the one for this system, and small"
    if forced == "default":
        return "default", "CPU=0 asks for it"
    if forced:
        if not reaches_cpu_build():
            raise InstallError("the CPU build of torch cannot be reached: check the network, or leave CPU=1 out")
        return "cpu", "CPU=1 asks for it"
    gpu = nvidia_gpu()
    if gpu:
        return "default", f"this machine has an {gpu}"
    if not reaches_cpu_build():
        return "default", "the small one for machines without an NVIDIA GPU cannot be reached from here"
    return "cpu", "no NVIDIA GPU is found (CPU=0 takes the one with CUDA)"


def can_write(folder):
    """Whether a folder can be written to, or made if it is not there yet; without a HOME its path is no whole one."""
    path = folder
    while path and not os.path.exists(path):
        path = os.path.dirname(path)
    return os.path.isabs(folder) and os.access(path, os.W_OK)


def uv_settings(pip_settings):
    """{environment variable: value} that tells uv what pip was told; what uv itself was told stays."""
    told = {}
    for line in sorted(pip_settings.splitlines(), key=lambda line: line.startswith(":env:")):  # which wins over files
        found = re.match(r"\S+?\.([a-z-]+)='(.*)'$", line)
        if found and found[1] in PIP_SETTINGS:
            values = found[2].replace("\\n", " ").split()
            told[PIP_SETTINGS[found[1]]] = ("," if found[1] == "find-links" else " ").join(values)
    if "UV_INDEX" in told:
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # of several indexes, as pip does; hashes guard the choice
    return {name: value for name, value in told.items() if value and name not in os.environ}


def run(command, settings=None, build="default"):
    """Run a command, show the lines that tell how far it is, and raise InstallError with the reason if it fails."""
    environment = {**os.environ, **(settings or {}), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "PIP_USER": "0"}
    said = []
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
        encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        for line in process.stdout:
            said.append(line)
            if PROGRESS.match(line):
                print(line, end="", flush=True)
    if process.returncode:
        raise InstallError(reason("".join(said), build))


def reason(said, build):
    """Why a command failed, from what it said, and what to do: one line."""
    again = "then repeat the command; what was fetched is kept"
    if NO_SPACE.search(said):
        return f"the disk is full: make room ({DISK_GB[build]} GB are enough), {again}"
    if NO_LINKS.search(said):
        return "this disk, like that of a stick, cannot hold an environment: copy the folder to your own, and repeat it"
    wrong = WRONG_HASH.search(said)
    if wrong:
        return (
            f"{wrong[1] or 'uv'} as it was fetched is not the one in requirements.lock, its hash differs: a proxy or "
            "mirror gave another file; use another one, then repeat the command"
        )
    if NO_NETWORK.search(said):
        found = re.search(r"[a-z]+:/{2}[^\s/)]+", said)
        where = found[0] if found else "the index of packages"
        return f"{where} cannot be reached: check the network, or name your proxy in HTTPS_PROXY, {again}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"the installation failed ({'; '.join(lines[-3:])}); repeat the command once that is mended"


def main(arguments):
    """Install what is missing; return the exit code: 0, 1 for a failure, 130 if interrupted, 2 for a wrong argument."""
    if arguments and (len(arguments) != 2 or arguments[0] != "--wheels"):
        print("install: no arguments, or --wheels DIR", file=sys.stderr)
        return 2
    # Some systems set CPU to the name of the processor.
    forced = {"0": "default", "1": "cpu"}.get(os.environ.get("CPU"))
    try:
        environment = Environment()
        if not environment.is_ready(forced):
            environment.install(forced)
            print(f"ready: {environment.folder}")
        if arguments:
            environment.fetch(Path(arguments[1]))
        return 0
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)
    except OSError as error:
        print(f"install: {error.filename or '.venv'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ninstall: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
