"""The kernel that notebooks run in: this Python and this copy of the package, with nobody's own configuration."""

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from jupyter_client import AsyncKernelManager, launch_kernel
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning import LocalProvisioner

from mnist_ae_utils import machine

ROOT = Path(__file__).resolve().parents[2]  # the project's folder
# What takes longest to import is there when the kernel's folder and arguments come. No configuration file is read,
# wherever one lies; what is typed into it could leave a report without figures.
START = """import json, os, sys
sys.path = [path for path in sys.path if path]
import sklearn.manifold, torch
from ipykernel.kernelapp import IPKernelApp
folder, *arguments = json.loads(sys.stdin.readline() or sys.exit())
os.chdir(folder)
IPKernelApp.load_config_file = lambda self, *args, **options: None
IPKernelApp.launch_instance(arguments)"""


class Process(LocalProvisioner):
    """A kernel's process, started while the notebook before was running: its imports then cost no time."""

    ahead = None  # the next kernel's process, and the file from which it reads its folder and arguments
    to_come = 0  # for how many kernels no process was started yet

    @classmethod
    def start_ahead(cls):
        """Start the process for the next kernel."""
        cls.to_come -= 1
        reader, writer = os.pipe()
        with os.fdopen(reader):
            cls.ahead = launch_kernel([sys.executable, "-c", START], stdin=reader), os.fdopen(writer, "w")

    @classmethod
    def stop_ahead(cls):
        """End the process that waits for a kernel, if one does."""
        if cls.ahead:
            process, arguments = cls.ahead
            process.kill()
            process.wait()
            arguments.close()
        cls.ahead = None

    async def launch_kernel(self, cmd, **options):
        """Start the kernel in the process ahead, and start that of the next one."""
        if not Process.ahead or Process.ahead[0].poll() is not None:
            Process.stop_ahead()
            Process.start_ahead()
        (self.process, arguments), Process.ahead = Process.ahead, None
        self.cwd = options.get("cwd", os.getcwd())
        with arguments:
            arguments.write(json.dumps([self.cwd, *cmd]) + "\n")
        self.pid = self.process.pid
        self.pgid = os.getpgid(self.pid) if hasattr(os, "getpgid") else None
        if Process.to_come > 0:
            Process.start_ahead()
        return self.connection_info


class Kernel(AsyncKernelManager):
    """A kernel of the Python that runs the report, whichever kernels are registered."""

    kernel_spec = KernelSpec(argv=["-f", "{connection_file}"], language="python")  # arguments of what START launches
    exit_code = None  # of the latest kernel that ended by itself

    def __init__(self, **options):
        super().__init__(**options)
        self.provisioner = Process(kernel_spec=self.kernel_spec, parent=self)

    async def is_alive(self):
        """Whether the kernel runs; if not, its exit code is kept."""
        code = await self.provisioner.poll() if self.has_kernel else 0
        Kernel.exit_code = Kernel.exit_code if code is None else code
        return code is None


def why_dead():
    """What ended the latest kernel that ended by itself, in words."""
    code = Kernel.exit_code
    if code == -9:
        return "it was killed: by the system, if memory ran out, or by somebody"
    return f"it was ended by signal {-code}" if code and code < 0 else f"it ended by itself with exit code {code}"


def python_path():
    """The variable PYTHONPATH with which a process finds this copy of the package."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


@contextlib.contextmanager
def environment(n_kernels=1):
    """The environment variables that notebooks run with, until the block ends; in it, so many kernels will start."""
    import matplotlib
    from IPython.core.profiledir import ProfileDir

    before = dict(os.environ)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as private:
        # A kernel that had to write these itself, and found the disk full, would print a page and end.
        ProfileDir.create_profile_dir(os.path.join(private, "profile_default"))
        Path(private, "README").touch()
        for name in ("MPLBACKEND", "PYTHONSTARTUP"):
            os.environ.pop(name, None)
        os.environ |= {
            "PYTHONPATH": python_path(),
            "IPYTHONDIR": private,  # with its start-up files
            "JUPYTER_RUNTIME_DIR": private,  # the usual one may be in a home that cannot be written to
            "MPLCONFIGDIR": matplotlib.get_configdir(),  # where that cannot be written to, a temporary one for all
            "MATPLOTLIBRC": os.path.join(matplotlib.get_data_path(), "matplotlibrc"),
            machine.STILL: "1",  # no browser is there to show a widget
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a warning about the debugger in each kernel's log
        } | ({} if sys.stdout.isatty() else {"TQDM_MININTERVAL": "30"})  # a log need not see a bar grow
        Process.to_come = n_kernels
        try:
            yield
        finally:
            Process.stop_ahead()
            os.environ.clear()
            os.environ.update(before)
