// The trace of a ROI: drag to zoom, twice a click for all.
import { css, page } from "./colors.js";

const box = document.getElementById("trace");
const state = document.getElementById("trace-state");

async function draw() {
  const answer = await fetch(box.dataset.from);
  if (!answer.ok) throw new Error(await answer.text());
  const { times, values } = await answer.json();
  const color = page();
  const axis = { stroke: css(color.faint), grid: { stroke: css(color.line), width: 0.5 }, ticks: { stroke: css(color.line) } };
  const plot = new window.uPlot({
    width: box.clientWidth, height: 240,
    cursor: { drag: { x: true, y: false } },
    scales: { x: { time: false } },
    axes: [{ ...axis, label: "s" }, { ...axis, label: box.dataset.unit, size: 60 }],
    series: [{ label: "s" }, { label: box.dataset.unit, stroke: css(color.accent), width: 1, points: { show: false } }],
  }, [times, values], box);
  state.textContent = `${times.length} frames. Drag to zoom, double-click for all.`;
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 240 })).observe(box);
}

if (box) draw().catch((error) => { state.textContent = `The trace cannot be shown: ${error.message}`; });
