"""Wheels of installed packages, packed again: what tests install where there is no network."""

import sys
import zipfile
from importlib import metadata
from pathlib import Path

LEFT_OUT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", ".pyc")  # the installer writes its own


def write_wheel(folder, name, version, files, tag="py3-none-any"):
    """Write a wheel of `files`, {path: bytes}, whose metadata it makes where they lack them; return its path."""
    info = f"{name}-{version}.dist-info"
    made = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    files = made | files
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100755 << 16
            archive.writestr(entry, content)
        archive.writestr(f"{info}/RECORD", record)
    return wheel


def pack(folder, distribution):
    """Write the wheel of an installed distribution into a folder; return its path."""
    of = metadata.distribution(distribution)
    name = of.metadata["Name"].replace("-", "_")
    scripts = {entry.name for entry in of.entry_points if entry.group == "console_scripts"}  # made by the installer
    files = {}
    for path in of.files:
        place = Path(of.locate_file(path)).resolve()
        if path.name.endswith(LEFT_OUT) or not place.is_file() or place.stem in scripts and ".." in path.parts:
            continue
        target = path.as_posix()
        if ".." in path.parts:  # a program, or something else beside Python's own folder
            kind, *rest = place.relative_to(Path(sys.prefix).resolve()).parts
            kind, rest = ("scripts", rest) if kind in ("bin", "Scripts") else ("data", [kind, *rest])
            target = "/".join([f"{name}-{of.version}.data", kind, *rest])
        files[target] = place.read_bytes()
    tag = next(line.partition(": ")[2] for line in of.read_text("WHEEL").splitlines() if line.startswith("Tag: "))
    return write_wheel(folder, name, of.version, files, tag)
