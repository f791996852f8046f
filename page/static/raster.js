// The raster: a picture of the part in view with a margin around it, so that moving shows something at once.
import { css, page, rgb } from "./colors.js";
import { contextOf, pairIn } from "./dom.js";
import { bandsOf } from "./timeline.js";

const MARGIN = 0.1; // fetched on each side of the view, as a fraction of it

export class Raster {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {string} address
   * @param {Pair} shape Cells, frames.
   */
  constructor(canvas, address, shape) {
    this.canvas = canvas;
    this.address = address;
    this.shape = shape;
    /** @type {View} */
    this.view = { rows: [0, shape[0]], frames: [0, shape[1]] };
    /** @type {Picture[]} the whole raster, then the newest part */
    this.pictures = [];
    this.contrast = 1;
    this.top = 254; // value that is drawn darkest; set to the 99.5th percentile of the whole raster
    /** @type {string[] | null} background colour of each cell's row */
    this.tints = null;
    /** @type {number[]} first frame after each pause of the imaging */
    this.breaks = [];
    this.isAsking = false;
    this.isOutdated = false;
    /** @type {number[]} ms from request to drawing, for benchmarks */
    this.timings = [];
    /** @type {((error: Error) => void) | null} */
    this.failed = null;
    /** @type {(() => void) | null} */
    this.drawn = null;
  }

  /**
   * Return the view moved into the raster, with the same size if it fits.
   * @param {View} view
   * @returns {View}
   */
  inside(view) {
    /**
     * @param {Pair} range
     * @param {number} size
     * @param {number} least
     * @returns {Pair}
     */
    const fit = ([first, last], size, least) => {
      const span = Math.min(Math.max(last - first, least), size);
      const start = Math.min(Math.max(first, 0), size - span);
      return [start, start + span];
    };
    return { rows: fit(view.rows, this.shape[0], Math.min(4, this.shape[0])), frames: fit(view.frames, this.shape[1], Math.min(10, this.shape[1])) };
  }

  /** @param {View} view */
  show(view) {
    this.view = this.inside(view);
    this.draw();
    this.ask();
  }

  // Fetch a sharp picture of the view. One request at a time: afterwards only the latest view is fetched.
  async ask() {
    if (this.isAsking) {
      this.isOutdated = true;
      return;
    }
    this.isAsking = true;
    do {
      this.isOutdated = false;
      try {
        await this.fetchView();
      } catch (error) {
        this.failed?.(/** @type {Error} */ (error));
      }
    } while (this.isOutdated);
    this.isAsking = false;
  }

  async fetchView() {
    const begun = performance.now();
    const { rows, frames } = this.view;
    const wide = this.inside({
      rows: [rows[0] - MARGIN * (rows[1] - rows[0]), rows[1] + MARGIN * (rows[1] - rows[0])],
      frames: [frames[0] - MARGIN * (frames[1] - frames[0]), frames[1] + MARGIN * (frames[1] - frames[0])],
    });
    const share = (/** @type {Axis} */ axis) => (wide[axis][1] - wide[axis][0]) / (this.view[axis][1] - this.view[axis][0]);
    const height = Math.min(Math.ceil(this.canvas.height * share("rows")), 4000);
    const width = Math.min(Math.ceil(this.canvas.width * share("frames")), 8000);
    if (this.pictures.some((one) => contains(one, this.view) && this.isSharp(one))) return;
    const range = (/** @type {Pair} */ pair) => `${pair[0].toFixed(1)}:${pair[1].toFixed(1)}`;
    const answer = await fetch(`${this.address}&rows=${range(wide.rows)}&frames=${range(wide.frames)}&width=${width}&height=${height}`);
    if (!answer.ok) throw new Error(await answer.text());
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const picture = { bytes, shape: pairIn(answer, "x-shape"), rows: pairIn(answer, "x-rows"), frames: pairIn(answer, "x-frames") };
    if (!this.pictures.length) this.top = quantile(bytes, 0.995) || 254;
    this.paint(picture);
    this.pictures = this.pictures.length ? [this.pictures[0], picture] : [picture];
    this.draw();
    this.timings.push(performance.now() - begun);
  }

  /**
   * Return whether a picture has a row and a column for each pixel, or for each cell and frame.
   * @param {Picture} picture
   */
  isSharp(picture) {
    const per = (/** @type {Axis} */ axis, /** @type {number} */ n) => (picture[axis][1] - picture[axis][0]) / n;
    const needed = (/** @type {Axis} */ axis, /** @type {number} */ pixels) => Math.max(1, (this.view[axis][1] - this.view[axis][0]) / pixels) * 1.001;
    const [n_rows, n_columns] = picture.shape;
    return per("rows", n_rows) <= needed("rows", this.canvas.height) && per("frames", n_columns) <= needed("frames", this.canvas.width);
  }

  /**
   * Draw a picture: the tint of each cell's region, darkened by its activity.
   * @param {Picture} picture
   */
  paint(picture) {
    const { bytes, shape: [n_rows, n_columns] } = picture;
    const image = new ImageData(n_columns, n_rows);
    const pixels = new Uint32Array(image.data.buffer);
    /** @type {Map<string | null, Uint32Array>} a lookup table for each tint: there are few tints and many rows */
    const tables = new Map();
    const shades = page();
    for (let row = 0; row < n_rows; row++) {
      const tint = this.tints ? this.tintOf(this.tints, picture, row) : null;
      const table = tables.get(tint) ?? this.tableOf(tint, shades);
      tables.set(tint, table);
      for (let i = row * n_columns, end = i + n_columns; i < end; i++) pixels[i] = table[bytes[i]];
    }
    picture.canvas ??= new OffscreenCanvas(n_columns, n_rows);
    contextOf(picture.canvas).putImageData(image, 0, 0);
  }

  /**
   * Return the colour of each value 0 to 255 on a tint, as ABGR.
   * @param {string | null} tint
   * @param {PageColors} shades
   */
  tableOf(tint, { paper, ink }) {
    const base = tint ? rgb(tint).map((value, k) => paper[k] + 0.3 * (value - paper[k])) : paper;
    return Uint32Array.from({ length: 256 }, (_, value) => {
      const share = Math.min((value * this.contrast) / this.top, 1);
      const [r, g, b] = base.map((from, k) => from + (ink[k] - from) * share);
      return (255 << 24) | (b << 16) | (g << 8) | r;
    });
  }

  /**
   * @param {string[]} tints
   * @param {Picture} picture
   * @param {number} row
   */
  tintOf(tints, picture, row) {
    const per = (picture.rows[1] - picture.rows[0]) / picture.shape[0];
    const first = Math.floor(picture.rows[0] + row * per);
    return commonest(tints, first, Math.max(first + 1, Math.floor(first + per)));
  }

  repaint() {
    for (const picture of this.pictures) this.paint(picture);
    this.draw();
  }

  draw() {
    const context = contextOf(this.canvas);
    const { width, height } = this.canvas;
    context.fillStyle = css(page().paper);
    context.fillRect(0, 0, width, height);
    const { rows, frames } = this.view;
    const x = width / (frames[1] - frames[0]), y = height / (rows[1] - rows[0]);
    for (const one of this.pictures) {
      if (!one.canvas) continue;
      const across = ((one.frames[1] - one.frames[0]) * x) / one.shape[1];
      context.imageSmoothingEnabled = across < 1; // enlarged frames keep sharp edges
      context.drawImage(one.canvas, (one.frames[0] - frames[0]) * x, (one.rows[0] - rows[0]) * y,
        (one.frames[1] - one.frames[0]) * x, (one.rows[1] - one.rows[0]) * y);
    }
    context.fillStyle = css(page().paper);
    for (const [left, wide] of bandsOf(this.breaks, frames, width)) context.fillRect(left, 0, wide, height);
    this.drawn?.();
  }
}

/**
 * Return the most frequent of the colours from first to last (exclusive): several rows can share a pixel.
 * @param {string[]} colors
 * @param {number} first
 * @param {number} last
 * @returns {string}
 */
export function commonest(colors, first, last) {
  if (last - first === 1) return colors[Math.min(first, colors.length - 1)];
  /** @type {Map<string, number>} */
  const counts = new Map();
  let best = "", most = 0;
  for (let i = first; i < Math.min(last, colors.length); i++) {
    const n = (counts.get(colors[i]) ?? 0) + 1;
    counts.set(colors[i], n);
    if (n > most) [best, most] = [colors[i], n];
  }
  return best;
}

/**
 * @param {View} outer
 * @param {View} inner
 */
function contains(outer, inner) {
  const isIn = (/** @type {Axis} */ axis) => outer[axis][0] <= inner[axis][0] && outer[axis][1] >= inner[axis][1];
  return isIn("rows") && isIn("frames");
}

/**
 * @param {Uint8Array} bytes
 * @param {number} share
 */
function quantile(bytes, share) {
  const counts = new Uint32Array(256);
  for (const value of bytes) counts[value]++;
  let left = share * bytes.length;
  return counts.findIndex((n) => {
    left -= n;
    return left <= 0;
  });
}
