// Above the raster: blocks, trial events and wheel velocity. Below it: the time axis.
import { css, keyOf, page } from "./colors.js";
import { contextOf } from "./dom.js";

const PAUSE = 1; // s; frames further apart have a pause of the imaging between them
const BAND = 5; // CSS px of the blank band that shows a pause, which itself has no place among the frames

/**
 * Return the first frame after each pause.
 * @param {number[]} clock Start of each frame, s.
 * @returns {number[]}
 */
export function breaksOf(clock) {
  const found = [];
  for (let i = 1; i < clock.length; i++) if (clock[i] - clock[i - 1] > PAUSE) found.push(i);
  return found;
}

/**
 * Return left edge and width of the blank band of each pause in view, in pixels.
 * @param {number[]} breaks
 * @param {Pair} frames
 * @param {number} width
 * @returns {Pair[]}
 */
export function bandsOf(breaks, [first, last], width) {
  const wide = BAND * devicePixelRatio;
  return breaks.filter((frame) => frame > first && frame < last)
    .map((frame) => [((frame - first) / (last - first)) * width - wide / 2, wide]);
}

export class Timeline {
  /**
   * @param {HTMLCanvasElement} events
   * @param {HTMLCanvasElement} axis
   * @param {TimelineData} data
   */
  constructor(events, axis, data) {
    this.events = events;
    this.axis = axis;
    this.data = data;
    this.last = data.clock.length - 1;
    this.breaks = breaksOf(data.clock);
    this.fastest = (data.wheel ?? []).reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
  }

  /**
   * Return the time of a frame, s.
   * @param {number} frame
   * @returns {number}
   */
  time(frame) {
    const { clock } = this.data;
    const i = Math.min(Math.max(Math.floor(frame), 0), this.last);
    const step = i < this.last ? clock[i + 1] - clock[i] : this.last ? clock[i] - clock[i - 1] : 0;
    return clock[i] + (frame - i) * Math.min(step, 1);
  }

  /**
   * Return the frame at a time in s.
   * @param {number} time
   * @returns {number}
   */
  frame(time) {
    const { clock } = this.data;
    let low = 0, high = this.last + 1; // binary search
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (clock[middle] <= time) low = middle; else high = middle;
    }
    const step = low < this.last ? clock[low + 1] - clock[low] : this.last ? clock[low] - clock[low - 1] : 1;
    return Math.max(low + Math.min((time - clock[low]) / step, 1), 0);
  }

  /** @param {Pair} frames */
  draw([first, last]) {
    this.drawEvents(first, last);
    this.drawAxis(first, last);
  }

  /**
   * @param {number} first
   * @param {number} last
   */
  drawEvents(first, last) {
    const context = contextOf(this.events);
    const { width, height } = this.events;
    const scale = width / (last - first), ratio = devicePixelRatio, color = page();
    context.clearRect(0, 0, width, height);
    const { blocks, events, wheel } = this.data;
    for (const block of blocks) {
      context.fillStyle = block.color;
      context.fillRect((block.from - first) * scale, 0, Math.max((block.to - block.from) * scale, 1), 8 * ratio);
    }
    events.forEach(({ color: paint, frames }, row) => {
      context.fillStyle = paint;
      for (const frame of frames) {
        if (frame >= first && frame <= last) context.fillRect((frame - first) * scale, (10 + 5 * row) * ratio, Math.max(ratio, 1.2), 4 * ratio);
      }
    });
    if (!wheel) return;
    const middle = 41 * ratio, tall = 10 * ratio;
    context.strokeStyle = css(color.ink);
    context.lineWidth = ratio * 0.8;
    context.beginPath();
    const step = Math.max(1, Math.floor((last - first) / width));
    const breaks = this.breaks.filter((frame) => frame > first);
    for (let frame = Math.floor(first); frame <= Math.min(last, this.last); frame += step) {
      let value = 0;
      if (frame >= breaks[0]) { // the line begins anew after a pause
        context.moveTo((frame - first) * scale, middle);
        while (frame >= breaks[0]) breaks.shift();
      }
      for (let i = frame; i < Math.min(frame + step, wheel.length); i++) if (Math.abs(wheel[i]) > Math.abs(value)) value = wheel[i];
      context.lineTo((frame - first) * scale, middle - (value / this.fastest) * tall);
    }
    context.stroke();
    for (const [x, wide] of bandsOf(this.breaks, [first, last], width)) context.clearRect(x, 0, wide, height);
  }

  /**
   * @param {number} first
   * @param {number} last
   */
  drawAxis(first, last) {
    const context = contextOf(this.axis);
    const { width, height } = this.axis;
    const ratio = devicePixelRatio, color = page();
    context.clearRect(0, 0, width, height);
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.fillStyle = css(color.faint);
    context.strokeStyle = css(color.faint);
    const [from, to] = [this.time(first), this.time(last)];
    // at each pause the axis is interrupted, and the length of the pause written instead of ticks
    context.textAlign = "center";
    const texts = this.drawPauses(context, first, last);
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600].find((s) => (to - from) / s <= width / (80 * ratio)) ?? 7200;
    for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
      const frame = this.frame(time), x = ((frame - first) / (last - first)) * width;
      if (Math.abs(this.time(frame) - time) > 0.5) continue; // the time is in a gap of the imaging
      context.fillRect(x, 0, ratio, 4 * ratio);
      const text = step < 1 ? time.toFixed(1) : String(Math.round(time));
      const half = context.measureText(text).width / 2 + 3 * ratio;
      if (texts.some(([left, right]) => x + half > left && x - half < right)) continue;
      if (x > 14 * ratio && x < width - 24 * ratio) context.fillText(text, x, 15 * ratio);
    }
    context.textAlign = "left";
    if (!texts.some(([, right]) => right > width - 12 * ratio)) context.fillText("s", width - 8 * ratio, 15 * ratio);
  }

  /**
   * Mark the pauses in view on the axis; return left and right edge of each text, in pixels.
   * @param {CanvasRenderingContext2D} context
   * @param {number} first
   * @param {number} last
   * @returns {Pair[]}
   */
  drawPauses(context, first, last) {
    const { width } = this.axis, ratio = devicePixelRatio, { clock } = this.data;
    return this.breaks.filter((frame) => frame > first && frame < last).map((frame) => {
      const x = ((frame - first) / (last - first)) * width;
      const text = `pause of ${Math.round(clock[frame] - clock[frame - 1])} s`, half = context.measureText(text).width / 2;
      for (const side of [-1, 1]) {
        const at = x + side * (BAND / 2) * ratio;
        context.beginPath();
        context.moveTo(at - 1.5 * ratio, 5 * ratio);
        context.lineTo(at + 1.5 * ratio, 0);
        context.stroke();
      }
      const middle = Math.min(Math.max(x, half), width - half);
      context.fillText(text, middle, 15 * ratio);
      return [middle - half, middle + half];
    });
  }

  // Return elements for the legend of the colours above the raster.
  key() {
    const { blocks, events, wheel } = this.data;
    /** @type {[text: string, color: string][]} */
    const unique = [...new Map(blocks.map(({ name, color }) => [name, color]))].sort();
    for (const { name, color } of events) unique.push([name, color]);
    if (wheel) unique.push(["wheel", css(page().ink)]);
    return keyOf(unique);
  }
}
