"""The kernel that notebooks run in: this Python and this copy of the package, with nobody's own configuration."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec

ROOT = Path(__file__).resolve().parents[2]  # the project's folder
# No configuration file is read, wherever one lies; what is typed into it could leave a report without figures.
START = """import sys
sys.path = [path for path in sys.path if path]
from ipykernel.kernelapp import IPKernelApp
IPKernelApp.load_config_file = lambda self, *args, **options: None
IPKernelApp.launch_instance()"""


class Kernel(AsyncKernelManager):
    """A kernel of the Python that runs the report, whichever kernels are registered."""

    kernel_spec = KernelSpec(argv=[sys.executable, "-c", START, "-f", "{connection_file}"], language="python")
    exit_code = None  # of the latest kernel that ended by itself

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


@contextlib.contextmanager
def environment():
    """The environment variables that notebooks run with, until the block ends."""
    import matplotlib

    before = dict(os.environ)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as private:
        for name in ("MPLBACKEND", "PYTHONSTARTUP"):
            os.environ.pop(name, None)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ |= {
            "PYTHONPATH": os.pathsep.join(paths),
            "IPYTHONDIR": private,  # with its start-up files
            "JUPYTER_RUNTIME_DIR": private,  # the usual one may be in a home that cannot be written to
            "MPLCONFIGDIR": matplotlib.get_configdir(),  # where that cannot be written to, a temporary one for all
            "MATPLOTLIBRC": os.path.join(matplotlib.get_data_path(), "matplotlibrc"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # a warning about the debugger in each kernel's log
        } | ({} if sys.stdout.isatty() else {"TQDM_MININTERVAL": "30"})  # a log need not see a bar grow
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)
