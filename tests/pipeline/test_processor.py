"""The processor of this machine, compared with what the system and other settings of BLAS say."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.processor import blas_kernels, cpu_features

CPUINFO = Path("/proc/cpuinfo")
ASK = "import json; from pipeline.processor import blas_kernels; print(json.dumps(blas_kernels()))"


def kernels(first: str = "", **variables: str) -> list[str]:
    """Return the kernels in a process that imports something before."""
    command = [sys.executable, "-c", f"{first}\n{ASK}"]
    done = subprocess.run(command, env=os.environ | variables, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(not CPUINFO.exists() or platform.machine() != "x86_64", reason="Linux on x86-64 lists its flags")
def test_instruction_sets_are_those_of_the_kernel():
    flags = set(re.search("^flags.*: (.*)$", CPUINFO.read_text(), re.MULTILINE)[1].split())
    for name in ("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl"):
        assert (name in cpu_features()) == (name in flags), name
    assert "sse2" in cpu_features()
    assert not {"aes", "rdrnd"} & set(cpu_features())


@pytest.mark.slow
def test_kernels_are_the_same_whatever_was_imported_before():
    assert kernels() == kernels("import sklearn.cluster, numba, scipy.sparse.linalg") == blas_kernels()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of OpenBLAS for x86-64")
def test_another_kernel_is_another_kind():
    if not blas_kernels()[0].startswith("openblas"):
        pytest.skip("this variable is OpenBLAS's")
    for name in ("Nehalem", "Haswell"):
        assert all(one.endswith(f" {name}") for one in kernels(OPENBLAS_CORETYPE=name))
