"""This Python with its NumPy, laid into machines of ours where any user of theirs may run it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

AT = "/var/lib/python"  # inside the machine
FOLDER = f"{AT}/bin"  # has `python3`; goes to the front of PATH


def lay() -> str:
    """Lines of a shell script, run as root in the machine's own mount namespace; its /var/lib is its own."""
    packages = Path(np.__file__).parents[1]
    binary = f"python{sys.version_info.major}.{sys.version_info.minor}"
    start = f'#!/bin/sh\\nLD_LIBRARY_PATH={AT}/base/lib PYTHONPATH={AT}/packages exec {AT}/base/bin/{binary} "$@"\\n'
    return f"""\
mkdir -p {FOLDER} {AT}/base {AT}/packages
mount --bind '{sys.base_prefix}' {AT}/base
mount --bind '{packages}' {AT}/packages
printf '{start}' > {FOLDER}/python3
chmod 755 {FOLDER}/python3
"""
