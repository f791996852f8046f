// The map of the cells, seen from above: anterior at the top, the right hemisphere on the right.
import { css, page, readable } from "./colors.js";
import { contextOf } from "./dom.js";
import { Outlines } from "./outlines.js";

const CLOSEST = 60; // micrometres that are in view at the largest zoom
const MARGIN = 12; // CSS px around what is fitted
const TOGETHER = 0.5; // FOVs whose centres are nearer than this fraction of their size are planes at one place
/** @type {Point[]} corners of a box around the brain of a mouse, with the bulbs and without the cerebellum, micrometres from bregma; where there are no outlines */
const BRAIN = [[-5000, -5500], [5000, 5000]];
const DASHES = [[], [5, 3], [2, 2], [8, 2, 2, 2]]; // outlines of the planes at one place

export class CellMap {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Cells} cells
   * @param {Outline[]} outlines Of the brain and its regions; none if they are not in the database.
   */
  constructor(canvas, cells, outlines) {
    this.canvas = canvas;
    this.cells = cells;
    /** @type {string[]} */
    this.colors = [];
    /** @type {Uint8Array | null} 1 where a cell is selected */
    this.chosen = null;
    /** @type {Limits | null} the box being dragged, canvas px */
    this.box = null;
    /** @type {number | null} the FOV that is shown alone */
    this.only = null;
    this.known = cells.ml.map((ml, i) => (ml === null || cells.ap[i] === null ? -1 : i)).filter((i) => i >= 0);
    const places = this.known.map((i) => this.at(i));
    this.atlas = new Outlines(outlines, places);
    /** @type {Limits} the brain of a mouse, and all cells */
    this.whole = around([...(outlines.length ? this.atlas.corners : BRAIN), ...places]);
    /** @type {Limits} all cells */
    this.fitted = places.length ? around(places) : this.whole;
    /** @type {Limits} what is in view */
    this.limits = this.fitted;
    this.outlines = planesOf([...new Set(cells.fov)].sort((a, b) => a - b).map((fov) => ({
      fov, corners: hull(this.known.filter((i) => cells.fov[i] === fov).map((i) => this.at(i))),
    })).filter((one) => one.corners.length));
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

  /**
   * Return functions that convert micrometres to canvas px and back, and the scale in px per micrometre.
   * @returns {Place}
   */
  place() {
    const [left, right, back, front] = this.limits;
    const { width, height } = this.canvas;
    const margin = MARGIN * devicePixelRatio;
    const scale = Math.min((width - 2 * margin) / Math.max(right - left, CLOSEST), (height - 2 * margin) / Math.max(front - back, CLOSEST));
    return {
      x: (ml) => width / 2 + (ml - (left + right) / 2) * scale,
      y: (ap) => height / 2 - (ap - (back + front) / 2) * scale,
      ml: (x) => (x - width / 2) / scale + (left + right) / 2,
      ap: (y) => (height / 2 - y) / scale + (back + front) / 2,
      scale,
    };
  }

  /**
   * Show a part of the brain that has a cell in it, and is not larger than the whole.
   * @param {Limits} limits
   */
  show(limits) {
    const [left, right, back, front] = this.whole;
    const [wide, tall] = [Math.min(limits[1] - limits[0], right - left), Math.min(limits[3] - limits[2], front - back)];
    const middle = (/** @type {number} */ a, /** @type {number} */ b, /** @type {number} */ least, /** @type {number} */ most) => Math.min(Math.max((a + b) / 2, least), most);
    const ml = middle(limits[0], limits[1], left, right), ap = middle(limits[2], limits[3], back, front);
    this.limits = [ml - wide / 2, ml + wide / 2, ap - tall / 2, ap + tall / 2];
    this.keepACell();
    this.draw();
  }

  // Move the view so far that the nearest cell is in it: an empty map shows no way back.
  keepACell() {
    const place = this.place(), { width, height } = this.canvas, edge = MARGIN * devicePixelRatio;
    let nearest = null, least = Infinity;
    for (const i of this.known) {
      const [ml, ap] = this.at(i), x = place.x(ml), y = place.y(ap);
      /** @type {Point} how far the cell is outside of the canvas */
      const out = [x - Math.min(Math.max(x, edge), width - edge), y - Math.min(Math.max(y, edge), height - edge)];
      const far = Math.hypot(...out);
      if (far < least) [nearest, least] = [out, far];
    }
    if (!nearest || !least) return;
    const [right, down] = nearest.map((px) => px / place.scale);
    const [a, b, c, d] = this.limits;
    this.limits = [a + right, b + right, c - down, d - down];
  }

  /** @param {number | null} [fov] Show this FOV alone. */
  showCells(fov = null) {
    this.only = fov;
    const own = this.outlines.find((one) => one.fov === fov);
    this.show(own ? around(own.corners) : this.fitted);
  }

  showBrain() {
    this.only = null;
    this.show(this.whole);
  }

  /** @param {Limits} limits */
  isShown(limits) {
    return this.limits.every((value, k) => Math.abs(value - limits[k]) < 1);
  }

  /**
   * Zoom around a point, given in fractions of the canvas.
   * @param {number} factor
   * @param {Point} at
   */
  zoom(factor, [x, y]) {
    const place = this.place(), ml = place.ml(x * this.canvas.width), ap = place.ap(y * this.canvas.height);
    const [left, right, back, front] = this.limits;
    // not closer than CLOSEST along the longer side
    const least = Math.min(CLOSEST / Math.max(right - left, front - back, 1), 1);
    const by = factor < 1 ? Math.max(factor, least) : factor;
    this.show([ml - (ml - left) * by, ml + (right - ml) * by, ap - (ap - back) * by, ap + (front - ap) * by]);
  }

  /**
   * @param {number} right
   * @param {number} up
   */
  move(right, up) {
    const [a, b, c, d] = this.limits;
    this.show([a + right * (b - a), b + right * (b - a), c + up * (d - c), d + up * (d - c)]);
  }

  /**
   * Show the part that the map showed when a movement began, moved and zoomed as the fingers on it have moved.
   * @param {Limits} limits
   * @param {Point[]} before Fractions of the canvas; of one finger, or of two.
   * @param {Point[]} now
   */
  follow(limits, before, now) {
    this.limits = limits;
    const { ml, ap } = this.place(), { width, height } = this.canvas;
    const px = (/** @type {Point[]} */ points) => points.map(([x, y]) => /** @type {Point} */ ([x * width, y * height]));
    const apart = (/** @type {Point[]} */ [a, b]) => (b ? Math.max(Math.hypot(a[0] - b[0], a[1] - b[1]), 1) : 1);
    const middle = (/** @type {Point[]} */ points, /** @type {0 | 1} */ k) => points.reduce((sum, point) => sum + point[k], 0) / points.length;
    const [first, last] = [px(before), px(now)], factor = apart(first) / apart(last);
    // what was between the fingers stays there
    const held = [ml(middle(first, 0)), ap(middle(first, 1))], under = [ml(middle(last, 0)), ap(middle(last, 1))];
    const [a, b, c, d] = limits;
    const x = (/** @type {number} */ value) => held[0] + (value - under[0]) * factor;
    const y = (/** @type {number} */ value) => held[1] + (value - under[1]) * factor;
    this.show([x(a), x(b), y(c), y(d)]);
  }

  draw() {
    const context = contextOf(this.canvas);
    const { width, height } = this.canvas;
    const place = this.place(), { x, y, scale } = place;
    const color = page();
    context.fillStyle = css(color.paper);
    context.fillRect(0, 0, width, height);
    this.atlas.draw(context, color, place);
    this.drawBregma(context, color);
    // squares cover about a fifth of the FOVs' area at any zoom, and stay between 2 and 6 CSS px
    const size = Math.min(Math.max(0.45 * scale * Math.sqrt(this.area / Math.max(this.known.length, 1)), 2 * devicePixelRatio), 6 * devicePixelRatio);
    /** @type {Map<string, number[]>} */
    const groups = new Map();
    for (const i of this.known) {
      const isShown = this.only === null || this.cells.fov[i] === this.only;
      if (!isShown && !this.chosen) continue; // cells of another plane would cover those that are shown
      const key = (this.chosen && !this.chosen[i]) || !isShown ? "" : this.colors[i];
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
    this.drawFOVs(context, color);
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
   * Draw the midline, and a cross at bregma with its name.
   * @param {CanvasRenderingContext2D} context
   * @param {PageColors} color
   */
  drawBregma(context, color) {
    const { x, y } = this.place(), ratio = devicePixelRatio;
    context.strokeStyle = css(color.faint, 0.6);
    context.lineWidth = ratio * 0.7;
    context.setLineDash([4 * ratio, 4 * ratio]);
    context.strokeRect(x(0), -ratio, 0, this.canvas.height + 2 * ratio);
    context.setLineDash([]);
    context.strokeRect(x(0) - 5 * ratio, y(0), 10 * ratio, 0);
    context.fillStyle = css(color.faint);
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.fillText("bregma", x(0) + 8 * ratio, y(0) + 4 * ratio);
  }

  /**
   * Draw outline and name of each FOV. Planes at one place have dashed outlines, each a little outside of the former,
   * and their names, with the depth, are above each other.
   * @param {CanvasRenderingContext2D} context
   * @param {PageColors} color
   */
  drawFOVs(context, color) {
    const { x, y } = this.place(), ratio = devicePixelRatio;
    context.lineWidth = ratio;
    for (const { fov, corners, plane, planes } of this.outlines) {
      if (this.only !== null && this.only !== fov) continue;
      const { color: own, depth } = this.cells.fovs[String(fov)];
      const points = corners.map(([ml, ap]) => /** @type {Point} */ ([x(ml), y(ap)]));
      const middle = [0, 1].map((k) => points.reduce((sum, point) => sum + point[k], 0) / points.length);
      const out = (/** @type {number} */ value, /** @type {0 | 1} */ k) => value + Math.sign(value - middle[k]) * 3 * plane * ratio;
      context.strokeStyle = context.fillStyle = planes > 1 ? readable(own, color) : css(color.ink);
      context.setLineDash(DASHES[plane % DASHES.length].map((px) => px * ratio));
      context.beginPath();
      for (const [px, py] of points) context.lineTo(out(px, 0), out(py, 1));
      context.closePath();
      context.stroke();
      const text = planes > 1 && depth !== null ? `FOV ${fov}, ${depth} µm` : `FOV ${fov}`;
      write(context, color, text, Math.min(...points.map(([px]) => px)), Math.min(...points.map(([, py]) => py)) - (4 + 3 * (planes - 1) + 13 * plane) * ratio);
    }
    context.setLineDash([]);
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
    const { width, height } = this.canvas, edge = 12 * devicePixelRatio;
    write(context, color, "anterior", width / 2 - context.measureText("anterior").width / 2, edge);
    write(context, color, "right", width - edge / 2 - context.measureText("right").width, height / 2);
    write(context, color, "left", edge / 2, height / 2);
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
   * Return acronym, side and name of the region at a point on the canvas, "" if it is not known.
   * @param {number} px
   * @param {number} py
   */
  regionAt(px, py) {
    const { ml, ap } = this.place();
    return this.atlas.nameAt(ml(px), ap(py));
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
      if (this.only !== null && this.cells.fov[i] !== this.only) continue;
      const [ml, ap] = this.at(i);
      const far = (x(ml) - px) ** 2 + (y(ap) - py) ** 2;
      if (far < least) [best, least] = [i, far];
    }
    return best < 0 ? null : best;
  }
}

/**
 * Write a word on paper of its own: lines and cells are below it.
 * @param {CanvasRenderingContext2D} context
 * @param {PageColors} color
 * @param {string} text
 * @param {number} x
 * @param {number} y
 */
function write(context, color, text, x, y) {
  const ink = context.fillStyle, size = 11 * devicePixelRatio;
  context.fillStyle = css(color.paper);
  context.fillRect(x - 1, y - 0.85 * size, context.measureText(text).width + 2, 1.1 * size);
  context.fillStyle = ink;
  context.fillText(text, x, y);
}

const least = (/** @type {number[]} */ values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (/** @type {number[]} */ values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

/**
 * Return the limits of points: least and most ML, then AP.
 * @param {Point[]} points
 * @returns {Limits}
 */
function around(points) {
  if (!points.length) return [-100, 100, -100, 100];
  const ml = points.map(([x]) => x), ap = points.map(([, y]) => y);
  return [least(ml), most(ml), least(ap), most(ap)];
}

/**
 * Return the outlines of FOVs with the number of each among the planes at its place, and how many these are.
 * @param {{ fov: number, corners: Point[] }[]} outlines
 */
function planesOf(outlines) {
  const centre = (/** @type {Point[]} */ corners) => {
    const [left, right, back, front] = around(corners);
    return [(left + right) / 2, (back + front) / 2, Math.max(right - left, front - back)];
  };
  const centres = outlines.map(({ corners }) => centre(corners));
  const isNear = (/** @type {number} */ i, /** @type {number} */ j) => Math.hypot(centres[i][0] - centres[j][0], centres[i][1] - centres[j][1]) < TOGETHER * Math.min(centres[i][2], centres[j][2]);
  return outlines.map((one, i) => {
    const near = outlines.map((_, j) => j).filter((j) => j === i || isNear(i, j));
    return { ...one, plane: near.indexOf(i), planes: near.length };
  });
}

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
