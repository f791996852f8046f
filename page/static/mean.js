// The mean activity of the selected cells, below the raster and with the same time axis.
import { css, page } from "./colors.js";
import { pairIn } from "./dom.js";
import { bandsOf } from "./timeline.js";

const HEIGHT = 92;

/**
 * Return the line: frames and values, without a value at each pause of the imaging.
 * @param {Float32Array} values
 * @param {Pair} edges First and last edge of the values, in frames.
 * @param {number[]} breaks
 * @returns {[number[], (number | null)[]]}
 */
export function broken(values, edges, breaks) {
  const step = (edges[1] - edges[0]) / Math.max(values.length, 1);
  /** @type {[number, number | null][]} */
  const points = Array.from(values, (value, i) => [edges[0] + (i + 0.5) * step, value]);
  for (const frame of breaks) if (frame > edges[0] && frame < edges[1]) points.push([frame, null]);
  points.sort(([one], [other]) => one - other);
  return [points.map(([frame]) => frame), points.map(([, value]) => value)];
}

export class MeanLine {
  /**
   * @param {HTMLElement} box
   * @param {string} address
   * @param {import("./raster.js").Raster} raster
   */
  constructor(box, address, raster) {
    this.box = box;
    this.address = address;
    this.raster = raster;
    /** @type {import("uplot") | null} */
    this.plot = null;
    this.n = 0;
  }

  /**
   * Fetch and draw the mean activity of n cells, which a query such as rows=0:10 selects.
   * @param {string} what
   * @param {number} n
   */
  async draw(what, n) {
    const { frames } = this.raster.view;
    this.n = n;
    let values = new Float32Array(0), edges = frames;
    if (n) {
      const range = frames.map((frame) => frame.toFixed(1)).join(":");
      const answer = await fetch(`${this.address}&${what}&frames=${range}&width=${this.width()}`);
      if (!answer.ok) throw new Error(await answer.text());
      values = new Float32Array(await answer.arrayBuffer());
      edges = pairIn(answer, "x-frames");
    }
    this.plot ??= this.made();
    this.plot.setData(broken(values, edges, this.raster.breaks));
  }

  made() {
    return new window.uPlot({
      width: this.width(), height: HEIGHT, padding: [16, 0, 0, 0],
      legend: { show: false }, cursor: { show: false }, axes: [{ show: false }, { show: false }],
      scales: { x: { time: false, range: () => this.raster.view.frames }, y: { range: (_, __, high) => [0, (high || 1) * 1.05] } },
      series: [{}, { stroke: () => css(page().ink), width: 1, points: { show: false } }],
      hooks: { draw: [(plot) => this.clearPauses(plot), (plot) => this.label(plot)] },
    }, [[], []], this.box);
  }

  /**
   * Leave the same blank band as the raster at each pause of the imaging.
   * @param {import("uplot")} plot
   */
  clearPauses({ ctx, bbox }) {
    for (const [x, wide] of bandsOf(this.raster.breaks, this.raster.view.frames, bbox.width)) ctx.clearRect(bbox.left + x, bbox.top, wide, bbox.height);
  }

  /** @param {import("uplot")} plot */
  label({ ctx, scales }) {
    ctx.fillStyle = css(page().faint);
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    const short = `mean of ${this.n} cell${this.n === 1 ? "" : "s"}, 0 to ${(scales.y.max ?? 0).toFixed(2)}`, text = `${short} (each cell p20 to p99 = 0 to 1)`;
    ctx.fillText(ctx.measureText(text).width < ctx.canvas.width - 8 * devicePixelRatio ? text : short, 4 * devicePixelRatio, 11 * devicePixelRatio);
  }

  width() {
    return Math.max(this.raster.canvas.clientWidth, 100);
  }

  resize() {
    this.plot?.setSize({ width: this.width(), height: HEIGHT });
  }
}
