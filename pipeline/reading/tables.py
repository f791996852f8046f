"""The tables of a ONE cache as they are found: damaged, of another version, written on Windows, with repeated rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("sessions", "datasets")


def readable(folder: Path) -> None:
    """Check that the tables of a ONE cache can be read; ONE itself would end with an error of pyarrow.

    Raises
    ------
    ConfigError
        A table is cut or not a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in (folder / f"{name}.pqt" for name in TABLES):
        try:
            if path.exists():
                # the metadata are at the end of the file, so that a cut file has none
                pq.read_metadata(path)
        except (OSError, pa.ArrowException) as error:
            raise ConfigError(
                f"{path} ({path.stat().st_size} bytes) cannot be read as a table ({error}), it may be cut off. "
                f"Fetch it again, or write the tables of this ONE cache again with one.alf.cache.make_parquet_db"
            ) from error


def complete(cache: Any) -> None:
    """Bring the tables of a local ONE client to the form that it expects, in memory.

    Columns that older or other software leaves out are added, paths of Windows are written with ``/``, and rows that
    are listed twice, alike, are kept once.

    Parameters
    ----------
    cache : mapping of str to DataFrame
        ``one._cache``.
    """
    import pandas as pd
    from one.alf.cache import QC_TYPE

    sessions, datasets = cache["sessions"], cache["datasets"]
    for name in ("lab", "task_protocol", "projects"):
        if name not in sessions:
            sessions = sessions.assign(**{name: ""})
    absent = {
        "file_size": pd.array([pd.NA] * len(datasets), dtype="UInt64"),
        "hash": None,
        "exists": True,
        "qc": pd.Categorical(["NOT_SET"] * len(datasets), dtype=QC_TYPE),
    }
    datasets = datasets.assign(**{name: value for name, value in absent.items() if name not in datasets})
    datasets = datasets.assign(rel_path=datasets["rel_path"].str.replace("\\", "/", regex=False))
    cache["sessions"], cache["datasets"] = _once(sessions), _once(datasets)


def _once(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the rows that repeat an earlier one in all columns and the index."""
    same_id = table.index.duplicated(keep=False)
    again = np.zeros(len(table), dtype=bool)
    # as text: ids and dates are objects; only few rows, for a table may have millions
    again[same_id] = table[same_id].reset_index().astype(str).duplicated()
    return table[~again]
