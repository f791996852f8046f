// The raster: a picture of the part in view, and more around it, so that moving shows something at once.
import { css, page, rgb } from "./colors.js";

const AROUND = 0.15; // of the view, fetched beside it on each side

export class Raster {
  constructor(canvas, address, shape) {
    this.canvas = canvas;
    this.address = address;
    this.shape = shape; // cells, frames
    this.view = { rows: [0, shape[0]], frames: [0, shape[1]] };
    this.pictures = []; // the whole first, then the newest part
    this.contrast = 1;
    this.top = 254;
    this.tints = null; // colour of each cell
    this.isAsking = this.isOutdated = false;
    this.timings = []; // ms from asking to drawn, for those who measure
  }

  // Bring a view inside the raster, keeping its size.
  inside(view) {
    const fit = ([first, last], size, least) => {
      const span = Math.min(Math.max(last - first, least), size);
      const start = Math.min(Math.max(first, 0), size - span);
      return [start, start + span];
    };
    return { rows: fit(view.rows, this.shape[0], Math.min(4, this.shape[0])), frames: fit(view.frames, this.shape[1], Math.min(10, this.shape[1])) };
  }

  show(view) {
    this.view = this.inside(view);
    this.draw();
    this.ask();
  }

  // Have the view sharp; while one picture is on its way the next is that of the latest view.
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
        this.failed?.(error);
      }
    } while (this.isOutdated);
    this.isAsking = false;
  }

  async fetchView() {
    const begun = performance.now();
    const { rows, frames } = this.view;
    const wide = this.inside({
      rows: [rows[0] - AROUND * (rows[1] - rows[0]), rows[1] + AROUND * (rows[1] - rows[0])],
      frames: [frames[0] - AROUND * (frames[1] - frames[0]), frames[1] + AROUND * (frames[1] - frames[0])],
    });
    const share = (axis) => (wide[axis][1] - wide[axis][0]) / (this.view[axis][1] - this.view[axis][0]);
    const height = Math.min(Math.ceil(this.canvas.height * share("rows")), 4000);
    const width = Math.min(Math.ceil(this.canvas.width * share("frames")), 8000);
    if (this.pictures.some((one) => contains(one, this.view) && this.isSharp(one))) return;
    const range = (pair) => `${pair[0].toFixed(1)}:${pair[1].toFixed(1)}`;
    const answer = await fetch(`${this.address}&rows=${range(wide.rows)}&frames=${range(wide.frames)}&width=${width}&height=${height}`);
    if (!answer.ok) throw new Error(await answer.text());
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const pair = (name) => answer.headers.get(name).split(",").map(Number);
    const picture = { bytes, shape: pair("x-shape"), rows: pair("x-rows"), frames: pair("x-frames") };
    if (!this.pictures.length) this.top = quantile(bytes, 0.995) || 254;
    this.paint(picture);
    this.pictures = this.pictures.length ? [this.pictures[0], picture] : [picture];
    this.draw();
    this.timings.push(performance.now() - begun);
  }

  // Whether a picture has a row and a column for each pixel, or for each cell and frame.
  isSharp(picture) {
    const per = (axis, n) => (picture[axis][1] - picture[axis][0]) / n;
    const needed = (axis, pixels) => Math.max(1, (this.view[axis][1] - this.view[axis][0]) / pixels) * 1.001;
    const [n_rows, n_columns] = picture.shape;
    return per("rows", n_rows) <= needed("rows", this.canvas.height) && per("frames", n_columns) <= needed("frames", this.canvas.width);
  }

  // Turn values into colours: the tint of the cells' regions, darkened by their activity.
  paint(picture) {
    const { bytes, shape: [n_rows, n_columns] } = picture;
    const image = new ImageData(n_columns, n_rows);
    const pixels = new Uint32Array(image.data.buffer);
    const tables = new Map(), shades = page(); // a table for each tint: there are few, and many rows
    for (let row = 0; row < n_rows; row++) {
      const tint = this.tints ? this.tintOf(picture, row) : null;
      if (!tables.has(tint)) tables.set(tint, this.tableOf(tint, shades));
      const table = tables.get(tint);
      for (let i = row * n_columns, end = i + n_columns; i < end; i++) pixels[i] = table[bytes[i]];
    }
    picture.canvas ??= new OffscreenCanvas(n_columns, n_rows);
    picture.canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // The colour of each value on a tint.
  tableOf(tint, { paper, ink }) {
    const base = tint ? rgb(tint).map((value, k) => paper[k] + 0.3 * (value - paper[k])) : paper;
    return Uint32Array.from({ length: 256 }, (_, value) => {
      const share = Math.min((value * this.contrast) / this.top, 1);
      const [r, g, b] = base.map((from, k) => from + (ink[k] - from) * share);
      return (255 << 24) | (b << 16) | (g << 8) | r;
    });
  }

  tintOf(picture, row) {
    const per = (picture.rows[1] - picture.rows[0]) / picture.shape[0];
    const first = Math.floor(picture.rows[0] + row * per);
    return commonest(this.tints, first, Math.max(first + 1, Math.floor(first + per)));
  }

  repaint() {
    this.pictures.forEach((picture) => this.paint(picture));
    this.draw();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.fillStyle = css(page().paper);
    context.fillRect(0, 0, width, height);
    const { rows, frames } = this.view;
    const x = width / (frames[1] - frames[0]), y = height / (rows[1] - rows[0]);
    for (const one of this.pictures) {
      const across = ((one.frames[1] - one.frames[0]) * x) / one.shape[1];
      context.imageSmoothingEnabled = across < 1;
      context.drawImage(one.canvas, (one.frames[0] - frames[0]) * x, (one.rows[0] - rows[0]) * y,
        (one.frames[1] - one.frames[0]) * x, (one.rows[1] - one.rows[0]) * y);
    }
    this.drawn?.();
  }
}

export function commonest(colors, first, last) {
  if (last - first === 1) return colors[Math.min(first, colors.length - 1)];
  const counts = new Map();
  let best = null;
  for (let i = first; i < Math.min(last, colors.length); i++) {
    const n = (counts.get(colors[i]) ?? 0) + 1;
    counts.set(colors[i], n);
    if (best === null || n > counts.get(best)) best = colors[i];
  }
  return best;
}

function contains(outer, inner) {
  return ["rows", "frames"].every((axis) => outer[axis][0] <= inner[axis][0] && outer[axis][1] >= inner[axis][1]);
}

function quantile(bytes, share) {
  const counts = new Uint32Array(256);
  for (const value of bytes) counts[value]++;
  let left = share * bytes.length;
  return counts.findIndex((n) => (left -= n) <= 0);
}
