"""The processor of this machine as far as it can change the last bits of a result."""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePath

#: Beginnings of the names of instruction sets that compute with floating-point numbers, as LLVM names them.
ARITHMETIC = ("sse", "avx", "fma", "f16c", "amx", "neon", "sve", "sme", "fullfp16")
#: Packages that bring their own BLAS.
WITH_BLAS = ("numpy", "scipy")


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """Return LLVM's name of the processor, such as 'znver4': numba compiles for it."""
    from llvmlite.binding import get_host_cpu_name

    return str(get_host_cpu_name())


@lru_cache(maxsize=1)
def cpu_features() -> list[str]:
    """Return the processor's instruction sets for numbers, sorted: numpy and numba choose their code by them."""
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    return sorted(name for name, is_there in features.items() if is_there and name.startswith(ARITHMETIC))


@lru_cache(maxsize=1)
def blas_kernels() -> list[str]:
    """Return library, version and kernel of each BLAS that numpy and scipy use, such as 'openblas 0.3.30 SkylakeX'.

    A BLAS that other packages have loaded into this process is left out: it computes nothing here.
    """
    # imported for their BLAS: the answer must not depend on what a process has imported before
    import numpy as np  # noqa: F401
    import scipy.linalg  # noqa: F401
    from threadpoolctl import threadpool_info

    loaded = [one for one in threadpool_info() if one["user_api"] == "blas"]
    # numpy.libs and numpy/.dylibs in wheels; conda has one library for all
    own = [one for one in loaded if {part.split(".")[0] for part in PurePath(one["filepath"]).parts} & {*WITH_BLAS}]
    words = ("internal_api", "version", "architecture")
    return sorted({" ".join(str(one[word]) for word in words if one.get(word)) for one in own or loaded})
