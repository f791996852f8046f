// The activity trace of a ROI with trial events above it: drag to zoom, double-click to show all.
import { css, keyOf, page } from "./colors.js";
import { element } from "./dom.js";

const MARK_HEIGHT = 5; // CSS px; each kind of event has a row of marks, 1 px apart

/**
 * @param {HTMLElement} box
 * @param {HTMLElement} state
 */
async function draw(box, state) {
  const answer = await fetch(box.dataset.from ?? "");
  if (!answer.ok) throw new Error(await answer.text());
  /** @type {TraceData} */
  const { times, values, events } = await answer.json();
  const color = page();
  const axis = { stroke: css(color.faint), grid: { stroke: css(color.line), width: 0.5 }, ticks: { stroke: css(color.line) } };
  const plot = new window.uPlot({
    width: box.clientWidth, height: 240, padding: [(MARK_HEIGHT + 1) * events.length + 4, null, null, null],
    cursor: { drag: { x: true, y: false } },
    scales: { x: { time: false } },
    axes: [{ ...axis, label: "s" }, { ...axis, label: box.dataset.unit, size: 60 }],
    series: [{ label: "s" }, { label: box.dataset.unit, stroke: css(color.accent), width: 1, points: { show: false } }],
    hooks: { draw: [(drawn) => mark(drawn, events)] },
  }, [times, values], box);
  element("trace-key", HTMLElement).replaceChildren(...keyOf(events.map(({ name, color: paint }) => [name, paint])));
  state.textContent = `${values.filter((value) => value !== null).length} frames. Drag to zoom, double-click for all.`;
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 240 })).observe(box);
}

/**
 * Draw a mark above the trace for each event in view, a row for each kind of event.
 * @param {import("uplot")} plot
 * @param {TraceData["events"]} events
 */
function mark({ ctx, bbox, scales, valToPos }, events) {
  const ratio = devicePixelRatio;
  const { min = Infinity, max = -Infinity } = scales.x;
  events.forEach(({ color, times }, row) => {
    ctx.fillStyle = color;
    const y = bbox.top - (MARK_HEIGHT + 1) * (events.length - row) * ratio;
    for (const time of times) {
      if (time >= min && time <= max) ctx.fillRect(valToPos(time, "x", true), y, ratio, MARK_HEIGHT * ratio);
    }
  });
}

// the template leaves it out while the ROI's activity is not in the database
const trace = document.getElementById("trace");
if (trace) {
  const state = element("trace-state", HTMLElement);
  draw(trace, state).catch((error) => { state.textContent = `The trace could not be loaded: ${error.message}`; });
}
