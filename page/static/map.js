// The map of the cells, seen from above: anterior at the top, the right hemisphere on the right.
import { css, page } from "./colors.js";
import { contextOf } from "./dom.js";

export class CellMap {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Cells} cells
   */
  constructor(canvas, cells) {
    this.canvas = canvas;
    this.cells = cells;
    /** @type {string[]} */
    this.colors = [];
    /** @type {Uint8Array | null} 1 where a cell is selected */
    this.chosen = null;
    /** @type {Limits | null} the box being dragged, canvas px */
    this.box = null;
    this.known = cells.ml.map((ml, i) => (ml === null || cells.ap[i] === null ? -1 : i)).filter((i) => i >= 0);
    const ml = this.known.map((i) => this.at(i)[0]), ap = this.known.map((i) => this.at(i)[1]);
    /** @type {Limits} */
    this.all = this.known.length ? [least(ml), most(ml), least(ap), most(ap)] : [-100, 100, -100, 100];
    /** @type {Limits} what is in view */
    this.limits = this.all;
    this.outlines = [...new Set(cells.fov)].sort((a, b) => a - b).map((fov) => ({
      fov, corners: hull(this.known.filter((i) => cells.fov[i] === fov).map((i) => this.at(i))),
    })).filter((one) => one.corners.length);
    this.area = this.outlines.reduce((sum, { corners }) => sum + areaOf(corners), 0) || 1e4;
  }

  /**
   * Return the position of a known cell: ML and AP, micrometres.
   * @param {number} i
   * @returns {Point}
   */
  at(i) {
    return [Number(this.cells.ml[i]), Number(this.cells.ap[i])];
  }

  // Return functions that convert micrometres to canvas px and back, and the scale in px per micrometre.
  place() {
    const [left, right, back, front] = this.limits;
    const { width, height } = this.canvas;
    const margin = 22 * devicePixelRatio;
    const scale = Math.min((width - 2 * margin) / Math.max(right - left, 100), (height - 2 * margin) / Math.max(front - back, 100));
    return {
      x: (/** @type {number} */ ml) => width / 2 + (ml - (left + right) / 2) * scale,
      y: (/** @type {number} */ ap) => height / 2 - (ap - (back + front) / 2) * scale,
      ml: (/** @type {number} */ x) => (x - width / 2) / scale + (left + right) / 2,
      ap: (/** @type {number} */ y) => (height / 2 - y) / scale + (back + front) / 2,
      scale,
    };
  }

  showAll() {
    this.limits = this.all;
    this.draw();
  }

  /**
   * Zoom around a point, given in fractions of the canvas; not further out than all cells.
   * @param {number} factor
   * @param {Point} at
   */
  zoom(factor, [x, y]) {
    const place = this.place(), ml = place.ml(x * this.canvas.width), ap = place.ap(y * this.canvas.height);
    const [left, right, back, front] = this.limits;
    if (factor > 1 && right - left >= this.all[1] - this.all[0] && front - back >= this.all[3] - this.all[2]) return this.showAll();
    this.limits = [ml - (ml - left) * factor, ml + (right - ml) * factor, ap - (ap - back) * factor, ap + (front - ap) * factor];
    return this.draw();
  }

  /**
   * @param {number} right
   * @param {number} up
   */
  move(right, up) {
    const [a, b, c, d] = this.limits;
    this.limits = [a + right * (b - a), b + right * (b - a), c + up * (d - c), d + up * (d - c)];
    this.draw();
  }

  draw() {
    const context = contextOf(this.canvas);
    const { width, height } = this.canvas;
    const { x, y, scale } = this.place();
    const color = page();
    context.fillStyle = css(color.paper);
    context.fillRect(0, 0, width, height);
    // squares cover about a fifth of the FOVs' area at any zoom, and stay between 2 and 6 CSS px
    const size = Math.min(Math.max(0.45 * scale * Math.sqrt(this.area / Math.max(this.known.length, 1)), 2 * devicePixelRatio), 6 * devicePixelRatio);
    /** @type {Map<string, number[]>} */
    const groups = new Map();
    for (const i of this.known) {
      const key = this.chosen && !this.chosen[i] ? "" : this.colors[i];
      const group = groups.get(key) ?? [];
      groups.set(key, group);
      group.push(i);
    }
    // cells that are not selected first, so that selected ones are drawn over them
    for (const [key, group] of [...groups].sort(([a], [b]) => Number(a !== "") - Number(b !== ""))) {
      context.fillStyle = key === "" ? css(color.line) : key;
      const side = key !== "" && this.chosen ? Math.max(size, 4 * devicePixelRatio) : size; // so that a single cell can be seen
      for (const i of group) {
        const [ml, ap] = this.at(i);
        context.fillRect(x(ml) - side / 2, y(ap) - side / 2, side, side);
      }
    }
    context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    context.strokeStyle = css(color.faint);
    context.fillStyle = css(color.faint);
    context.lineWidth = devicePixelRatio * 0.7;
    for (const { fov, corners } of this.outlines) {
      context.beginPath();
      for (const [ml, ap] of corners) context.lineTo(x(ml), y(ap));
      context.closePath();
      context.stroke();
      context.fillText(`FOV ${fov}`, Math.min(...corners.map(([ml]) => x(ml))), Math.min(...corners.map(([, ap]) => y(ap))) - 4 * devicePixelRatio);
    }
    if (!this.known.length) context.fillText("no cell has a position", width / 3, height / 2);
    this.drawScale(context, color, scale);
    if (this.box) {
      context.strokeStyle = css(color.accent);
      context.lineWidth = 1.5 * devicePixelRatio;
      const [a, b, c, d] = this.box;
      context.strokeRect(Math.min(a, b), Math.min(c, d), Math.abs(b - a), Math.abs(d - c));
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {PageColors} color
   * @param {number} scale Canvas px of a micrometre.
   */
  drawScale(context, color, scale) {
    const length = [2000, 1000, 500, 200, 100, 50, 20].find((um) => um * scale < this.canvas.width / 3) ?? 10;
    const y = this.canvas.height - 8 * devicePixelRatio, x = 8 * devicePixelRatio;
    context.strokeStyle = css(color.ink);
    context.lineWidth = 2 * devicePixelRatio;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + length * scale, y);
    context.stroke();
    context.fillStyle = css(color.ink);
    context.fillText(`${length} µm`, x, y - 5 * devicePixelRatio);
    context.textAlign = "center";
    const { width, height } = this.canvas, edge = 12 * devicePixelRatio;
    context.fillText("anterior", width / 2, edge);
    context.textAlign = "right";
    context.fillText("right", width - edge / 2, height / 2);
    context.textAlign = "left";
    context.fillText("left", edge / 2, height / 2);
  }

  /**
   * @returns {Limits}
   */
  boxInMicrometres() {
    const { ml, ap } = this.place();
    const [a, b, c, d] = this.box ?? [0, 0, 0, 0];
    return [Math.min(ml(a), ml(b)), Math.max(ml(a), ml(b)), Math.min(ap(c), ap(d)), Math.max(ap(c), ap(d))];
  }

  /**
   * Return the cell nearest to a point on the canvas, null if none is within 12 CSS px.
   * @param {number} px
   * @param {number} py
   * @returns {number | null}
   */
  nearest(px, py) {
    const { x, y } = this.place();
    let best = -1, least = (12 * devicePixelRatio) ** 2;
    for (const i of this.known) {
      const [ml, ap] = this.at(i);
      const far = (x(ml) - px) ** 2 + (y(ap) - py) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    return best < 0 ? null : best;
  }
}

const least = (/** @type {number[]} */ values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (/** @type {number[]} */ values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

/**
 * Return the corners of the convex hull of points (Andrew's monotone chain).
 * @param {Point[]} points
 * @returns {Point[]}
 */
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (/** @type {Point[]} */ list) => {
    /** @type {Point[]} */
    const out = [];
    for (const point of list) {
      while (out.length > 1 && turn(out[out.length - 2], out[out.length - 1], point) <= 0) out.pop();
      out.push(point);
    }
    return out.slice(0, -1);
  };
  return sorted.length < 3 ? sorted : [...half(sorted), ...half(sorted.reverse())];
}

/**
 * Return the area of a polygon (shoelace formula).
 * @param {Point[]} corners
 */
function areaOf(corners) {
  return Math.abs(corners.reduce((sum, [x, y], i) => {
    const [next_x, next_y] = corners[(i + 1) % corners.length];
    return sum + x * next_y - next_x * y;
  }, 0)) / 2;
}

/**
 * Return a number whose sign says to which side the path a, b, c turns; 0 if it is straight.
 * @param {Point} a
 * @param {Point} b
 * @param {Point} c
 */
const turn = (a, b, c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
