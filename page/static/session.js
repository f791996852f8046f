// The page of a session: raster, map and mean of one selection, which the address keeps.
import { coloring, css, page, ramp } from "./colors.js";
import { onKeys, onMap, onMapKeys, onRaster } from "./gestures.js";
import { CellMap } from "./map.js";
import { MeanLine } from "./mean.js";
import { Raster, commonest } from "./raster.js";
import { Timeline } from "./timeline.js";

const element = (id) => document.getElementById(id);
const tell = (text) => { element("where").textContent = text; };
const viewer = element("viewer");
const { eid, embedding, version } = viewer.dataset;
const shape = [Number(viewer.dataset.cells), Number(viewer.dataset.frames)];
const base = `/sessions/${encodeURIComponent(eid)}`;
const of = `embedding=${embedding}&v=${version}`;
const whole = { rows: [0, shape[0]], frames: [0, shape[1]] };

const raster = new Raster(element("raster"), `${base}/raster?${of}`, shape);
raster.failed = (error) => tell(`The raster cannot be had: ${error.message}`);
fit();
const [cells, line] = await Promise.all([
  get(`${base}/cells.json?${of}`),
  get(`${base}/timeline.json?${of}`),
  raster.ask(), // the whole, which stays behind every part
]);
const timeline = new Timeline(element("events"), element("axis"), line);
const map = new CellMap(element("map"), cells);
const mean = new MeanLine(element("mean"), `${base}/mean?${of}`, raster);

let selection = null; // { rows: [first, last] }, { box: [ml, ml, ap, ap] } or { region: acronym }
let colors = null;
let band = null; // rows that are being selected
let waiting = null; // until the movement ends
let drags = "select"; // what one pointer does

async function get(address) {
  const answer = await fetch(address);
  if (!answer.ok) {
    tell(`This session cannot be shown: ${await answer.text()}`);
    throw new Error(address);
  }
  return answer.json();
}

// ---- what is shown

function show(view) {
  raster.show(view);
  const { rows, frames } = raster.view;
  element("from-time").value = timeline.time(frames[0]).toFixed(1);
  element("to-time").value = timeline.time(frames[1]).toFixed(1);
  element("from-row").value = Math.round(rows[0]);
  element("to-row").value = Math.round(rows[1]);
  later();
}

raster.drawn = () => {
  timeline.draw(raster.view.frames);
  drawRows();
  if (!colors) return;
  drawStrip();
  drawBand(band ?? selection?.rows);
};

function drawBand(rows) {
  if (!rows) return;
  const { canvas, view } = raster, context = canvas.getContext("2d");
  const y = (row) => ((row - view.rows[0]) / (view.rows[1] - view.rows[0])) * canvas.height;
  context.fillStyle = css(page().accent, 0.16);
  context.fillRect(0, y(rows[0]), canvas.width, y(rows[1]) - y(rows[0]));
  context.fillStyle = css(page().accent);
  for (const row of rows) context.fillRect(0, y(row) - 1, canvas.width, 2);
}

// Numbers of the rows at the left.
function drawRows() {
  const canvas = element("rows"), context = canvas.getContext("2d"), ratio = devicePixelRatio;
  const { width, height } = canvas, [first, last] = raster.view.rows;
  context.clearRect(0, 0, width, height);
  context.fillStyle = css(page().faint);
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  context.textAlign = "right";
  context.textBaseline = "middle";
  const step = roundStep((last - first) / Math.max(height / (60 * ratio), 1));
  for (let row = Math.ceil(first / step) * step; row < last; row += step) {
    const y = ((row + 0.5 - first) / (last - first)) * height;
    context.fillRect(width - 4 * ratio, y, 4 * ratio, ratio);
    if (y > 18 * ratio && y < height - 6 * ratio) context.fillText(String(row), width - 6 * ratio, y);
  }
  context.fillText("cell", width - 6 * ratio, 8 * ratio);
}

// The least of 1, 2, 5, 10, 20 … that is no smaller.
function roundStep(least) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((n) => n * ten).find((step) => step >= least);
}

// Colours of the rows at the right; marks at its left where a selected cell is.
function drawStrip() {
  const canvas = element("strip"), context = canvas.getContext("2d"), ink = css(page().ink);
  const { rows } = raster.view;
  const per = (rows[1] - rows[0]) / canvas.height;
  for (let y = 0; y < canvas.height; y++) {
    const first = Math.floor(rows[0] + y * per), last = Math.max(first + 1, Math.floor(first + per));
    context.fillStyle = commonest(colors.of, first, last);
    context.fillRect(0, y, canvas.width, 1);
    if (!map.chosen?.subarray(first, last).includes(1)) continue;
    context.fillStyle = ink;
    context.fillRect(0, y, canvas.width * 0.45, 1);
  }
}

function color(by) {
  element("color").value = by;
  colors = coloring(cells, by);
  map.colors = colors.of;
  raster.tints = element("wash").checked ? colors.of : null;
  raster.repaint();
  map.draw();
  drawLegend();
  element("key").replaceChildren(...timeline.key());
}

function drawLegend() {
  element("legend").replaceChildren(...(colors.groups ? colors.groups.map(legendOf) : [round(colors.low), rampOf(), round(colors.high), ` ${colors.unit}`]));
}

function legendOf(group) {
  const button = document.createElement("button"), dot = document.createElement("i");
  button.type = "button";
  dot.style.background = group.color;
  button.append(dot, `${group.name} (${group.n})`);
  button.title = group.title;
  button.setAttribute("aria-pressed", String(selection?.region === group.name));
  button.addEventListener("click", () => select(selection?.region === group.name ? null : { region: group.name }));
  return button;
}

function rampOf() {
  const bar = Object.assign(document.createElement("canvas"), { className: "ramp", width: 160, height: 11 });
  const context = bar.getContext("2d");
  for (let x = 0; x < 160; x++) {
    context.fillStyle = ramp(x / 159);
    context.fillRect(x, 0, 1, 11);
  }
  return bar;
}

const round = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));

// ---- the selection

function select(chosen) {
  selection = chosen;
  map.chosen = chosen && Uint8Array.from({ length: shape[0] }, (_, i) => Number(isChosen(i)));
  map.draw();
  raster.draw();
  drawLegend();
  tellSelection();
  later();
}

function isChosen(i) {
  if (selection.rows) return i >= selection.rows[0] && i < selection.rows[1];
  if (selection.region) {
    const region = cells.regions[cells.region[i]];
    return region.acronym === selection.region || region.area === selection.region;
  }
  const [left, right, back, front] = selection.box, ml = cells.ml[i], ap = cells.ap[i];
  return ml !== null && ml >= left && ml <= right && ap >= back && ap <= front;
}

function nChosen() {
  return map.chosen ? map.chosen.reduce((a, b) => a + b, 0) : shape[0];
}

function tellSelection() {
  const { rows, region } = selection ?? {};
  const which = rows ? ` (${rows[0]} to ${rows[1] - 1} of the order)` : region ? ` in ${region}` : "";
  element("selected").textContent = selection
    ? `${counted(nChosen())} selected${which}.`
    : `${counted(shape[0])}, ${shape[1]} frames. Drag over the raster or the map to select cells.`;
}

function counted(n) {
  return `${n} cell${n === 1 ? "" : "s"}`;
}

function nameOf(i) {
  return `cell ${i} of the order: FOV ${cells.fov[i]}, ROI ${cells.roi[i]}, ${cells.regions[cells.region[i]].acronym}`;
}

function pick(i) {
  const link = document.createElement("a");
  link.href = `${base}/cells/${cells.fov[i]}/${cells.roi[i]}`;
  link.textContent = nameOf(i);
  element("picked").replaceChildren("Open ", link);
  return link;
}

// ---- the address: it can be sent to a colleague, and shows the same

function later() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    save();
    mean.draw(asText(selection ?? { rows: [0, shape[0]] }), nChosen()).catch((error) => tell(`The mean cannot be had: ${error.message}`));
  }, 120);
}

function asText({ rows, box, region }) {
  return rows ? `rows=${rows.join(":")}` : box ? `box=${box.join(",")}` : `region=${encodeURIComponent(region)}`;
}

function save() {
  const address = new URL(location);
  const set = (name, value) => (value ? address.searchParams.set(name, value) : address.searchParams.delete(name));
  const { rows, frames } = raster.view;
  const isWhole = (pair, size) => pair[0] <= 0 && pair[1] >= size;
  set("t", isWhole(frames, shape[1]) ? "" : frames.map((frame) => timeline.time(frame).toFixed(1)).join(":"));
  set("cells", isWhole(rows, shape[0]) ? "" : rows.map(Math.round).join(":"));
  set("color", element("color").value === "region" ? "" : element("color").value);
  set("contrast", raster.contrast === 1 ? "" : String(raster.contrast));
  set("tint", element("wash").checked ? "" : "no");
  set("rows", selection?.rows?.join(":"));
  set("box", selection?.box?.join(","));
  set("region", selection?.region);
  if (address.href !== location.href) history.replaceState(null, "", address);
}

function restore() {
  const asked = new URLSearchParams(location.search);
  const numbers = (name, by, n) => {
    const values = (asked.get(name) || "none").split(by).map(Number);
    return values.length === n && values.every(Number.isFinite) ? values : null;
  };
  const contrast = Number(asked.get("contrast") || 1);
  if (contrast > 0) element("contrast").value = contrast; // which keeps it within its limits
  raster.contrast = Number(element("contrast").value);
  element("wash").checked = asked.get("tint") !== "no";
  const ways = [...element("color").options].map((option) => option.value);
  color(ways.includes(asked.get("color")) ? asked.get("color") : "region");
  const t = numbers("t", ":", 2), rows = numbers("rows", ":", 2), box = numbers("box", ",", 4), region = asked.get("region");
  show({ rows: numbers("cells", ":", 2) ?? whole.rows, frames: t?.map((time) => timeline.frame(time)) ?? whole.frames });
  select(rows ? { rows } : box ? { box } : region ? { region } : null);
}

// ---- moving

function zoom(axis, factor, at = 0.5) {
  const [first, last] = raster.view[axis];
  const middle = first + at * (last - first);
  show({ ...raster.view, [axis]: [middle - (middle - first) * factor, middle + (last - middle) * factor] });
}

function move(axis, share) {
  const [first, last] = raster.view[axis], by = share * (last - first);
  show({ ...raster.view, [axis]: [first + by, last + by] });
}

function rowAt(share) {
  const { rows } = raster.view;
  return Math.min(Math.max(rows[0] + share * (rows[1] - rows[0]), 0), shape[0]);
}

function extend(direction) {
  const { rows } = raster.view, middle = Math.round((rows[0] + rows[1]) / 2);
  const step = Math.max(1, Math.round((rows[1] - rows[0]) / 20));
  const [first, last] = selection?.rows ?? [middle, middle];
  select({ rows: [first, Math.min(Math.max(last + direction * step, first + 1), shape[0])] });
}

onRaster(raster.canvas, {
  view: () => raster.view, show, zoom, move,
  mark: (from, to) => { band = [rowAt(from), rowAt(to)].sort((a, b) => a - b); raster.draw(); },
  choose: (isMeant) => {
    const [first, last] = band;
    band = null;
    select(isMeant ? { rows: [Math.floor(first), Math.ceil(last)] } : selection);
  },
  hover: ([x, y]) => {
    const { frames } = raster.view, i = Math.min(Math.floor(rowAt(y)), shape[0] - 1);
    tell(`${timeline.time(frames[0] + x * (frames[1] - frames[0])).toFixed(1)} s, ${nameOf(i)}`);
  },
  click: ([, y]) => pick(Math.min(Math.floor(rowAt(y)), shape[0] - 1)),
}, () => drags);
onKeys(raster.canvas, {
  zoom, move, extend, all: () => show(whole), none: () => select(null),
  name: () => { if (map.chosen?.includes(1)) pick(map.chosen.indexOf(1)).focus(); },
});

onMap(map.canvas, {
  box: (from, to) => {
    const { width, height } = map.canvas;
    map.box = [from[0] * width, to[0] * width, from[1] * height, to[1] * height];
    map.draw();
  },
  choose: () => {
    const box = map.boxInMicrometres().map(Math.round);
    map.box = null;
    select({ box });
  },
  click: ([x, y]) => {
    const found = map.nearest(x * map.canvas.width, y * map.canvas.height);
    if (found !== null) pick(found);
  },
  zoom: (factor, at) => map.zoom(factor, at),
}, () => drags);
onMapKeys(map.canvas, {
  zoom: (factor) => map.zoom(factor, [0.5, 0.5]), move: (right, up) => map.move(right, up), all: () => map.showAll(),
  none: () => select(null),
});

// ---- the tools

function dragTo(what) {
  drags = what;
  for (const one of ["scroll", "select", "move"]) {
    element(`drag-${one}`).setAttribute("aria-pressed", String(one === what));
    for (const canvas of [raster.canvas, map.canvas]) canvas.classList.toggle(one, one === what);
  }
}

const on = (id, kind, act) => element(id)?.addEventListener(kind, act);
on("drag-scroll", "click", () => dragTo("scroll"));
on("drag-select", "click", () => dragTo("select"));
on("drag-move", "click", () => dragTo("move"));
on("time-in", "click", () => zoom("frames", 0.5));
on("time-out", "click", () => zoom("frames", 2));
on("cells-in", "click", () => zoom("rows", 0.5));
on("cells-out", "click", () => zoom("rows", 2));
on("whole", "click", () => show(whole));
on("clear", "click", () => select(null));
on("color", "change", () => { color(element("color").value); later(); });
on("wash", "change", () => { color(element("color").value); later(); });
on("contrast", "input", () => { raster.contrast = Number(element("contrast").value); raster.repaint(); later(); });
on("embedding", "change", () => { location.search = `?embedding=${element("embedding").value}`; });
on("select-shown", "click", () => select({ rows: raster.view.rows.map(Math.round) }));
on("tools", "submit", (event) => event.preventDefault());
on("ranges", "submit", (event) => {
  event.preventDefault();
  const pair = (from, to) => [element(from), element(to)].map((field) => (field.value === "" ? NaN : Number(field.value)));
  const rows = pair("from-row", "to-row"), times = pair("from-time", "to-time");
  const all = [timeline.time(0), timeline.time(shape[1])];
  const isIn = ([first, last], [least, most]) => first < last && first < most && last > least;
  element("refused").textContent = !isIn(times, all)
    ? `Times are from a smaller to a larger one, within ${all[0].toFixed(1)} to ${all[1].toFixed(1)} s.`
    : !isIn(rows, [0, shape[0]]) ? `Cells are from a smaller to a larger number, within 0 to ${shape[0]}.` : "";
  if (!element("refused").textContent) show({ rows, frames: times.map((time) => timeline.frame(time)) });
});

// ---- the size of the window, and light and dark

function fit() {
  for (const id of ["raster", "rows", "strip", "events", "axis", "map"]) {
    const canvas = element(id), { width, height } = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
  }
}

if (matchMedia("(pointer: coarse)").matches) { // a finger has to scroll, too
  element("drag-scroll").hidden = false;
  dragTo("scroll");
}
restore();
new ResizeObserver(() => {
  fit();
  mean.resize();
  map.draw();
  raster.show(raster.view);
}).observe(viewer);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { color(element("color").value); later(); });
tell("Point at a cell for its name; click it for its page.");
viewer.dataset.ready = "yes";
window.meso = { raster, timeline, map }; // for whoever measures
