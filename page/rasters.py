"""Parts of rasters for the browser, made from tiles in the database; tiles read last are kept in memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

import datajoint as dj
import numpy as np

from page import queries
from page.addresses import BadRequest, numbers
from pipeline.errors import ArgumentError
from pipeline.signals import tiles
from pipeline.signals.tiles import Place, View
from schemas.embedding import Embedding, tiles_between
from schemas.imaging.signals import Signal
from schemas.imaging.tables import FOV
from schemas.rows import content_key, sources_key

#: Seconds for which a raster that was looked up is taken as it was: looking up takes 11 ms, on MySQL 90 ms with 20,000
#: cells, and each picture needs it. While somebody moves, it is looked up again in a pause, when this half is over.
OPEN_SECONDS = 5.0
RENEW_SECONDS = OPEN_SECONDS / 2
#: Most bytes of tiles in memory: enough for a few screens of the largest sessions.
KEPT_BYTES = 384_000_000
#: Likely next movements, the likeliest first, as ((row shift, frame shift), (row factor, frame factor)): shifts are
#: fractions of the part in view, factors multiply its spans. Scroll, zoom time, then the same for rows.
MOVEMENTS = (
    ((0, 0.5), (1, 1)), ((0, -0.5), (1, 1)), ((0, 0), (1, 0.5)), ((0, 0), (1, 2)),
    ((0.5, 0), (1, 1)), ((-0.5, 0), (1, 1)), ((0, 0), (0.5, 1)), ((0, 0), (2, 1)),
)  # fmt: skip


class Rasters:
    """Rasters in the database, with a cache of their tiles: those used longest ago are dropped first.

    Parameters
    ----------
    kept_bytes : int
        Most bytes of tiles in memory.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self.kept_bytes, self.size = kept_bytes, 0
        self.kept: OrderedDict[tuple[str, Place], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        #: Rasters that were looked up, with the time.
        self._opened: dict[tuple[str, str | None], tuple[float, Raster]] = {}

    def open(self, eid: str, embedding_params: str | None = None) -> Raster:
        """Return a raster as it was in the database at most ``OPEN_SECONDS`` ago; if recomputed, of another version.

        Raises
        ------
        NotFoundError
            The session has no such raster.
        """
        now, named = time.monotonic(), (eid, embedding_params)
        with self._lock:
            self._opened = {name: row for name, row in self._opened.items() if now - row[0] < OPEN_SECONDS}
            if named in self._opened:
                return self._opened[named][1]
        return self._look_up_again(named, now)

    def renew(self, raster: Raster) -> None:
        """Look up a raster again, before a picture has to wait for it, if that was ``RENEW_SECONDS`` ago."""
        now = time.monotonic()
        with self._lock:
            old = [name for name, (then, one) in self._opened.items() if one is raster and now - then > RENEW_SECONDS]
        for named in old:
            self._look_up_again(named, now)

    def _look_up_again(self, named: tuple[str, str | None], now: float) -> Raster:
        raster = self._look_up(*named)
        with self._lock:
            self._opened[named] = now, raster
        return raster

    def _look_up(self, eid: str, embedding_params: str | None) -> Raster:
        key, row = queries.raster_key(eid, embedding_params)
        names = ("eid", "embedding_params", "n_embedded", "n_clock_frames", "environment")
        # read again from other files, an embedding has the same key, and as many cells and frames
        of_signal = Signal.Source & (Embedding.OwnSignal & key).proj()
        made_of = sources_key(FOV.Source & {"eid": eid}, of_signal), _order_key(key)
        version = content_key([*(row[name] for name in names), *made_of])
        return Raster(self, key, version, (row["n_embedded"], row["n_clock_frames"]))

    def get(self, version: str, places: list[Place]) -> dict[Place, np.ndarray]:
        """Return the tiles at these places that are in memory."""
        found = {}
        with self._lock:
            for place in places:
                if (tile := self.kept.get((version, place))) is not None:
                    # last in the order: used just now
                    self.kept.move_to_end((version, place))
                    found[place] = tile
        return found

    def put(self, version: str, found: dict[Place, np.ndarray]) -> None:
        """Keep tiles in memory, and drop those used longest ago while there are too many bytes."""
        with self._lock:
            for place, tile in found.items():
                if (version, place) not in self.kept:  # another thread may have read it, too
                    self.kept[version, place] = tile
                    self.size += tile.nbytes
            while self.size > self.kept_bytes:
                self.size -= self.kept.popitem(last=False)[1].nbytes


class Raster:
    """A raster of a session.

    Attributes
    ----------
    key : dict
        Primary key in RasterTiles.
    version : str
        Changes when the embedding is recomputed.
    shape : (int, int)
        Number of cells and frames.
    """

    def __init__(self, kept: Rasters, key: dict, version: str, shape: tuple[int, int]) -> None:
        self._kept, self.key, self.version, self.shape = kept, key, version, shape

    def view(self, rows: tuple[float, float], frames: tuple[float, float], pixels: tuple[int, int]) -> View:
        """Return part of the raster: see ``pipeline.signals.tiles.view``.

        Raises
        ------
        BadRequest
            The part is outside of the raster.
        """
        self._check(rows, frames, pixels)
        return tiles.view(self._fetch, self.shape, rows, frames, pixels)

    def ahead(
        self, rows: tuple[float, float], frames: tuple[float, float], pixels: tuple[int, int]
    ) -> Iterator[Callable[[], object]]:
        """Yield calls for a pause: the raster is looked up again, then each reads one row of tiles for a movement."""
        yield partial(self._kept.renew, self)
        for shifts, factors in MOVEMENTS:
            down, along = (_moved(*of) for of in zip((rows, frames), shifts, factors, strict=True))
            with suppress(ArgumentError):  # the movement leads out of the raster
                row_level, time_level, tile_rows, columns = tiles.needed(self.shape, down, along, pixels)
                # one call for each row of tiles, so that a new request waits for one only
                for row in tile_rows:
                    yield partial(self._fetch, row_level, time_level, range(row, row + 1), columns)

    def mean(self, rows: np.ndarray, frames: tuple[float, float], width: int) -> View:
        """Return the mean activity of the cells in ``rows``: see ``pipeline.signals.tiles.mean``.

        Raises
        ------
        BadRequest
            ``rows`` is empty, or no frame is inside the raster.
        """
        if not len(rows):
            raise BadRequest("a mean needs at least one cell, and the address selects none")
        self._check((0, self.shape[0]), frames, (1, width))
        return tiles.mean(self._fetch, self.shape, rows, frames, width)

    def _check(self, rows: tuple[float, float], frames: tuple[float, float], pixels: tuple[int, int]) -> None:
        """Refuse a part outside of the raster before anything is read; an ArgumentError after that is a bug of ours."""
        try:
            tiles.needed(self.shape, rows, frames, pixels)
        except ArgumentError as error:
            raise BadRequest(str(error)) from None

    def chosen(self, query: Mapping[str, str]) -> np.ndarray:
        """Return the rows of the raster, (n,) int64, that an address selects.

        Parameters
        ----------
        query : mapping
            ``rows``, first:last (exclusive) of the Rastermap order; ``box``, limits of ML and of AP in um; or
            ``region``, the acronym of a region or area; or ``fov``, the number of a FOV.

        Raises
        ------
        BadRequest
            None of them is given, or the value has another form.
        """
        if "box" in query:
            left, right, back, front = numbers("box", query["box"], "ML,ML,AP,AP", "-900,800,-300,600")
            ml, ap = queries.positions(self.key)
            return np.flatnonzero((ml >= left) & (ml <= right) & (ap >= back) & (ap <= front))
        if "region" in query:
            return queries.rows_in_region(self.key, query["region"])
        if "fov" in query:
            (fov,) = numbers("fov", query["fov"], "a number", "0")
            return queries.rows_in_fov(self.key, fov)
        first, last = np.rint(numbers("rows", query.get("rows", ""), "from:to", "0:500"))
        rows = np.arange(self.shape[0])
        return rows[(rows >= first) & (rows < last)]

    def _fetch(self, row_level: int, time_level: int, rows: range, columns: range) -> dict[Place, np.ndarray]:
        """Return tiles of a rectangle, from memory or the database."""
        places = [Place(row_level, time_level, row, column) for row in rows for column in columns]
        found = self._kept.get(self.version, places)
        missing = [place for place in places if place not in found]
        if missing:  # one query for the rectangle around all of them is faster than one for each
            read = tiles_between(
                self.key, row_level, time_level,
                *(range(min(of), max(of) + 1) for of in zip(*(place[2:] for place in missing), strict=True)),
            )  # fmt: skip
            self._kept.put(self.version, {place: tile for place, tile in read.items() if place not in found})
            found |= read
        return found


def _order_key(key: dict) -> str:
    """Return a sum that another order of the cells changes; the server adds it up."""
    place = "embedding_rank * (roi + 7919.0 * fov + 1)"  # with a decimal point, so that no product is an integer's
    return str(dj.U().aggr(Embedding.Rank & key, order_sum=f"sum({place})").fetch1("order_sum"))


def _moved(part: tuple[float, float], shift: float, factor: float) -> tuple[float, float]:
    """Return a part of an axis, shifted by a fraction of its span and with its span multiplied by ``factor``."""
    span, middle = part[1] - part[0], (part[0] + part[1]) / 2 + shift * (part[1] - part[0])
    return middle - factor * span / 2, middle + factor * span / 2
