// Outlines of the brain and its regions from the atlas, seen from above, as the map of the cells draws them.
import { css } from "./colors.js";
import { contextOf } from "./dom.js";

const SIDE = 4; // CSS px between a name and the border of its region
const BREGMA = [55, 12]; // CSS px to the right of bregma, and above and below it, where its own name is

export class Outlines {
  /**
   * @param {Outline[]} outlines
   * @param {Point[]} cells Positions, micrometres; a name covers none of them.
   */
  constructor(outlines, cells) {
    this.regions = outlines.filter(({ side }) => side).map((one) => ({ ...one, path: pathOf([one]), free: Math.sqrt(nearest(one.place, cells)) }));
    const brain = outlines.filter(({ side }) => !side);
    /** @type {Point[]} */
    this.corners = brain.flatMap(({ polygons }) => polygons.flat());
    // made once, in micrometres: a view is a transform of the canvas
    this.brain = pathOf(brain);
    this.borders = pathOf(this.regions);
    this.flat = contextOf(new OffscreenCanvas(1, 1)); // a canvas without a transform, which tells what is in a path
  }

  /**
   * Draw the outlines, and the names of the regions that have room for them.
   * @param {CanvasRenderingContext2D} context
   * @param {PageColors} color
   * @param {Place} place
   */
  draw(context, color, { x, y, scale }) {
    const ratio = devicePixelRatio;
    context.save();
    context.setTransform(scale, 0, 0, -scale, x(0), y(0));
    context.lineJoin = "round";
    for (const [path, ink, px] of /** @type {[Path2D, string, number][]} */ ([[this.borders, css(color.faint, 0.7), 1], [this.brain, css(color.faint), 1.6]])) {
      context.strokeStyle = ink;
      context.lineWidth = (px * ratio) / scale;
      context.stroke(path);
    }
    context.restore();
    context.fillStyle = css(color.faint);
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    for (const { acronym, place: [ml, ap], room, free } of this.regions) {
      const half = context.measureText(acronym).width / 2, left = x(ml) - half, middle = y(ap);
      const isOnBregma = left < x(0) + BREGMA[0] * ratio && left + 2 * half > x(0) && Math.abs(middle - y(0)) < BREGMA[1] * ratio;
      if (Math.min(room * scale - SIDE * ratio, free * scale) > half && !isOnBregma) context.fillText(acronym, left, middle + 4 * ratio);
    }
  }

  /**
   * Return acronym, side and name of the region at a point, "" if there is none.
   * @param {number} ml
   * @param {number} ap
   */
  nameAt(ml, ap) {
    const found = this.regions.find(({ path }) => this.flat.isPointInPath(path, ml, ap, "evenodd"));
    return found ? `${found.acronym}, ${found.side}: ${found.name}` : "";
  }
}

/**
 * Return polygons as one path, in micrometres.
 * @param {{ polygons: Point[][] }[]} outlines
 */
function pathOf(outlines) {
  const path = new Path2D();
  for (const corners of outlines.flatMap(({ polygons }) => polygons)) {
    path.moveTo(...corners[0]);
    for (const [ml, ap] of corners) path.lineTo(ml, ap);
    path.closePath();
  }
  return path;
}

/**
 * Return the square of the distance to the nearest of some points.
 * @param {Point} place
 * @param {Point[]} points
 */
function nearest([ml, ap], points) {
  let least = Infinity;
  for (const [x, y] of points) least = Math.min(least, (x - ml) ** 2 + (y - ap) ** 2);
  return least;
}
