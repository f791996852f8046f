// The page of a session: raster, map, and mean activity of the selection. The address keeps view and selection.
import { coloring, css, page, ramp } from "./colors.js";
import { contextOf, element } from "./dom.js";
import { dragged, onKeys, onMapKeys, onPointers, onWheel, pinched } from "./gestures.js";
import { CellMap } from "./map.js";
import { MeanLine } from "./mean.js";
import { Raster, commonest } from "./raster.js";
import { Timeline } from "./timeline.js";

const html = (/** @type {string} */ id) => element(id, HTMLElement);
const canvasOf = (/** @type {string} */ id) => element(id, HTMLCanvasElement);
const input = (/** @type {string} */ id) => element(id, HTMLInputElement);
const tell = (/** @type {string} */ text) => { html("where").textContent = text; };
const choice = element("color", HTMLSelectElement);
const viewer = html("viewer");
const { eid = "", embedding, version, outlines: drawnAt } = viewer.dataset;
/** @type {Pair} */
const shape = [Number(viewer.dataset.cells), Number(viewer.dataset.frames)];
const base = `/sessions/${encodeURIComponent(eid)}`;
const of = `embedding=${embedding}&v=${version}`;
/** @type {View} */
const whole = { rows: [0, shape[0]], frames: [0, shape[1]] };

const raster = new Raster(canvasOf("raster"), `${base}/raster?${of}`, shape);
raster.failed = (error) => tell(`The raster could not be loaded: ${error.message}`);
fit();
const [cells, line, outlines] = await Promise.all([
  get(`${base}/cells.json?${of}`),
  get(`${base}/timeline.json?${of}`),
  drawnAt ? get(`/outlines.json?v=${drawnAt}`) : [],
  raster.ask(), // the whole raster, which stays behind every part
]);
const timeline = new Timeline(canvasOf("events"), canvasOf("axis"), line);
raster.breaks = timeline.breaks;
const map = new CellMap(canvasOf("map"), cells, outlines);
const mean = new MeanLine(html("mean"), `${base}/mean?${of}`, raster);

/** @type {Chosen | null} */
let selection = null;
/** @type {Coloring | null} */
let colors = null;
/** @type {Pair | null} rows that are being selected */
let band = null;
let waiting = 0; // timer: address and mean are updated once, when a movement ends
let isRestored = false; // the view comes from the address, which is then no step that Back undoes
/** @type {Drag} */
let drags = "select";

/** @param {string} address */
async function get(address) {
  const answer = await fetch(address);
  if (!answer.ok) {
    tell(`This session could not be loaded: ${await answer.text()}`);
    throw new Error(address);
  }
  return answer.json();
}

// ---- what is shown

/** @param {View} view */
function show(view) {
  raster.show(view);
  const { rows, frames } = raster.view;
  input("from-time").value = timeline.time(frames[0]).toFixed(1);
  input("to-time").value = timeline.time(frames[1]).toFixed(1);
  input("from-row").value = String(Math.round(rows[0]));
  input("to-row").value = String(Math.round(rows[1]));
  later();
}

raster.drawn = () => {
  timeline.draw(raster.view.frames);
  drawRows();
  if (!colors) return;
  drawStrip(colors.of);
  drawBand(band ?? selection?.rows);
};

/** @param {Pair | undefined} rows */
function drawBand(rows) {
  if (!rows) return;
  const { canvas, view } = raster, context = contextOf(canvas);
  const y = (/** @type {number} */ row) => ((row - view.rows[0]) / (view.rows[1] - view.rows[0])) * canvas.height;
  context.fillStyle = css(page().accent, 0.16);
  context.fillRect(0, y(rows[0]), canvas.width, y(rows[1]) - y(rows[0]));
  context.fillStyle = css(page().accent);
  for (const row of rows) context.fillRect(0, y(row) - 1, canvas.width, 2);
}

// Draw the row numbers, left of the raster.
function drawRows() {
  const canvas = canvasOf("rows"), context = contextOf(canvas), ratio = devicePixelRatio;
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

/**
 * Return the smallest of 1, 2, 5, 10, 20, … that is not below a value.
 * @param {number} least
 */
function roundStep(least) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5].map((n) => n * ten).find((step) => step >= least) ?? 10 * ten;
}

/**
 * Draw the colours of the rows, right of the raster, with marks where cells are selected.
 * @param {string[]} of Colour of each cell.
 */
function drawStrip(of) {
  const canvas = canvasOf("strip"), context = contextOf(canvas), ink = css(page().ink);
  const { rows } = raster.view;
  const per = (rows[1] - rows[0]) / canvas.height;
  for (let y = 0; y < canvas.height; y++) {
    const first = Math.floor(rows[0] + y * per), last = Math.max(first + 1, Math.floor(first + per));
    context.fillStyle = commonest(of, first, last);
    context.fillRect(0, y, canvas.width, 1);
    if (!map.chosen?.subarray(first, last).includes(1)) continue;
    context.fillStyle = ink;
    context.fillRect(0, y, canvas.width * 0.45, 1);
  }
}

/**
 * Colour the cells by a property.
 * @param {string} by
 */
function color(by) {
  choice.value = by;
  colors = coloring(cells, by);
  map.colors = colors.of;
  raster.tints = input("wash").checked ? colors.of : null;
  raster.repaint();
  map.draw();
  drawLegend();
  html("key").replaceChildren(...timeline.key());
  drawShades();
}

// Draw the scale of the raster: what its shades stand for at the present contrast.
function drawShades() {
  const bar = canvasOf("shades"), context = contextOf(bar), table = raster.tableOf(null, page());
  const most = Math.min(raster.top / raster.contrast, 254); // value that is drawn darkest
  for (let x = 0; x < bar.width; x++) {
    const abgr = table[Math.round((x / (bar.width - 1)) * most)];
    context.fillStyle = css([abgr & 255, (abgr >> 8) & 255, (abgr >> 16) & 255]);
    context.fillRect(x, 0, 1, bar.height);
  }
  html("shades-most").textContent = `${(most / 254).toFixed(2)}${most < 254 ? " and more" : ""}`;
}

function drawLegend() {
  if (!colors) return;
  html("legend").replaceChildren(...(colors.groups ? colors.groups.map(legendOf) : [round(colors.low), rampOf(page()), round(colors.high), ` ${colors.unit}`]));
}

/** @param {Group} group */
function legendOf(group) {
  const button = document.createElement("button"), dot = document.createElement("i");
  button.type = "button";
  dot.style.background = group.color;
  button.append(dot, `${group.name} (${group.n})`);
  button.title = group.title;
  const fov = choice.value === "fov" ? Number(group.name.split(" ")[1]) : undefined;
  const isChosen = fov === undefined ? selection?.region === group.name : selection?.fov === fov;
  button.setAttribute("aria-pressed", String(isChosen));
  button.addEventListener("click", () => select(isChosen ? null : fov === undefined ? { region: group.name } : { fov }));
  return button;
}

/** @param {PageColors} shades */
function rampOf(shades) {
  const bar = Object.assign(document.createElement("canvas"), { className: "ramp", width: 160, height: 11 });
  const context = contextOf(bar);
  for (let x = 0; x < 160; x++) {
    context.fillStyle = ramp(x / 159, shades);
    context.fillRect(x, 0, 1, 11);
  }
  return bar;
}

const round = (/** @type {number} */ value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));

// ---- the selection

/** @param {Chosen | null} chosen */
function select(chosen) {
  selection = chosen;
  map.chosen = chosen && Uint8Array.from({ length: shape[0] }, (_, i) => Number(isChosen(chosen, i)));
  map.draw();
  raster.draw();
  drawLegend();
  tellSelection();
  later();
}

/**
 * @param {Chosen} selection
 * @param {number} i
 */
function isChosen({ rows, box, region, fov }, i) {
  if (rows) return i >= rows[0] && i < rows[1];
  if (fov !== undefined) return cells.fov[i] === fov;
  if (region) {
    const { acronym, area } = cells.regions[cells.region[i]];
    return acronym === region || area === region;
  }
  if (!box) return false;
  const [left, right, back, front] = box, ml = cells.ml[i], ap = cells.ap[i];
  return ml !== null && ap !== null && ml >= left && ml <= right && ap >= back && ap <= front;
}

function nChosen() {
  return map.chosen ? map.chosen.reduce((a, b) => a + b, 0) : shape[0];
}

function tellSelection() {
  const { rows, region, fov } = selection ?? {};
  const which = rows ? ` (${rows[0]} to ${rows[1] - 1} of the order)` : region ? ` in ${region}` : fov !== undefined ? ` in FOV ${fov}` : "";
  html("selected").textContent = selection
    ? `${counted(nChosen())} selected${which}.`
    : `${counted(shape[0])}, ${shape[1]} frames. Drag over the raster or the map to select cells.`;
}

/** @param {number} n */
function counted(n) {
  return `${n} cell${n === 1 ? "" : "s"}`;
}

/** @param {number} i */
function nameOf(i) {
  return `cell ${i} of the order: FOV ${cells.fov[i]}, ROI ${cells.roi[i]}, ${cells.regions[cells.region[i]].acronym}`;
}

/**
 * Show the link to a cell's page.
 * @param {number} i
 */
function pick(i) {
  const link = document.createElement("a");
  link.href = `${base}/cells/${cells.fov[i]}/${cells.roi[i]}`;
  link.textContent = nameOf(i);
  html("picked").replaceChildren("Open ", link);
  return link;
}

// ---- the address: opened elsewhere, it shows the same view and selection

function later() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    save();
    isRestored = false;
    mean.draw(asText(selection ?? { rows: [0, shape[0]] }), nChosen()).catch((error) => tell(`The mean could not be loaded: ${error.message}`));
  }, 120);
}

/**
 * Return a selection as a query for the server.
 * @param {Chosen} selection
 */
function asText({ rows, box, region, fov }) {
  if (fov !== undefined) return `fov=${fov}`;
  return rows ? `rows=${rows.join(":")}` : box ? `box=${box.join(",")}` : `region=${encodeURIComponent(region ?? "")}`;
}

// Return the part of the brain that the map shows, as text; "" for the cells, which it shows at first.
function mapText() {
  if (map.isShown(map.whole)) return "brain";
  return map.isShown(map.fitted) ? "" : map.limits.map(Math.round).join(",");
}

const STEPS = ["t", "cells", "map", "plane", "rows", "box", "region", "fov"];

function save() {
  const address = new URL(location.href);
  const set = (/** @type {string} */ name, /** @type {string | undefined} */ value) => {
    if (value) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
  };
  const { rows, frames } = raster.view;
  const isWhole = (/** @type {Pair} */ pair, /** @type {number} */ size) => pair[0] <= 0 && pair[1] >= size;
  set("t", isWhole(frames, shape[1]) ? "" : frames.map((frame) => timeline.time(frame).toFixed(1)).join(":"));
  set("cells", isWhole(rows, shape[0]) ? "" : rows.map(Math.round).join(":"));
  set("color", choice.value === "region" ? "" : choice.value);
  set("contrast", raster.contrast === 1 ? "" : String(raster.contrast));
  set("tint", input("wash").checked ? "yes" : "");
  set("rows", selection?.rows?.join(":"));
  set("box", selection?.box?.join(","));
  set("region", selection?.region);
  set("fov", selection?.fov?.toString());
  set("map", mapText());
  set("plane", map.only?.toString());
  if (address.href === location.href) return;
  // Back undoes a zoom, a movement or a selection; colours and contrast are no steps
  const steps = (/** @type {URLSearchParams} */ asked) => STEPS.map((name) => asked.get(name)).join("&");
  const isStep = !isRestored && steps(address.searchParams) !== steps(new URLSearchParams(location.search));
  if (isStep) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}

function restore() {
  const asked = new URLSearchParams(location.search);
  const numbers = (/** @type {string} */ name, /** @type {string} */ by, /** @type {number} */ n) => {
    const values = (asked.get(name) || "none").split(by).map(Number);
    return values.length === n && values.every(Number.isFinite) ? values : null;
  };
  const pair = (/** @type {string} */ name) => /** @type {Pair | null} */ (numbers(name, ":", 2));
  const contrast = Number(asked.get("contrast") || 1);
  if (contrast > 0) input("contrast").value = String(contrast); // the input limits it to its range
  raster.contrast = Number(input("contrast").value);
  input("wash").checked = asked.get("tint") === "yes";
  color([...choice.options].find(({ value }) => value === asked.get("color"))?.value ?? "region");
  const rows = pair("rows"), box = /** @type {Limits | null} */ (numbers("box", ",", 4)), region = asked.get("region");
  const times = pair("t"), [fov] = numbers("fov", ",", 1) ?? [];
  show({ rows: pair("cells") ?? whole.rows, frames: times ? framesAt(times) : whole.frames });
  const [plane] = numbers("plane", ",", 1) ?? [], limits = /** @type {Limits | null} */ (numbers("map", ",", 4));
  map.only = map.outlines.some((one) => one.fov === plane) ? plane ?? null : null;
  map.show(asked.get("map") === "brain" ? map.whole : limits ?? map.fitted);
  tellMap();
  select(rows ? { rows } : box ? { box } : region ? { region } : fov !== undefined ? { fov } : null);
  isRestored = true; // until the address is saved again, which writes what it had
}

/**
 * @param {Pair} times
 * @returns {Pair}
 */
function framesAt([from, to]) {
  return [timeline.frame(from), timeline.frame(to)];
}

// ---- moving

/**
 * @param {Axis} axis
 * @param {number} factor
 * @param {number} [at] Point that stays in place, as a fraction of the axis.
 */
function zoom(axis, factor, at = 0.5) {
  const [first, last] = raster.view[axis];
  const middle = first + at * (last - first);
  show({ ...raster.view, [axis]: [middle - (middle - first) * factor, middle + (last - middle) * factor] });
}

/**
 * @param {Axis} axis
 * @param {number} share
 */
function move(axis, share) {
  const [first, last] = raster.view[axis], by = share * (last - first);
  show({ ...raster.view, [axis]: [first + by, last + by] });
}

/** @param {number} share */
function rowAt(share) {
  const { rows } = raster.view;
  return Math.min(Math.max(rows[0] + share * (rows[1] - rows[0]), 0), shape[0]);
}

/** @param {number} direction */
function extend(direction) {
  const { rows } = raster.view, middle = Math.round((rows[0] + rows[1]) / 2);
  const step = Math.max(1, Math.round((rows[1] - rows[0]) / 20));
  const [first, last] = selection?.rows ?? [middle, middle];
  select({ rows: [first, Math.min(Math.max(last + direction * step, first + 1), shape[0])] });
}

/** @type {View} */
let begun = raster.view;
onPointers(raster.canvas, {
  begin: () => { begun = raster.view; },
  drag: (from, to) => show(dragged(begun, from, to)),
  pinch: (before, now) => show(pinched(begun, before, now)),
  mark: ([, from], [, to]) => {
    if (!band && Math.abs(to - from) < 0.005) return; // along the rows
    band = [rowAt(Math.min(from, to)), rowAt(Math.max(from, to))];
    raster.draw();
  },
  marked: (isMeant) => {
    const rows = band;
    band = null;
    if (rows && isMeant) select({ rows: [Math.floor(rows[0]), Math.ceil(rows[1])] });
    else raster.draw();
  },
  hover: ([x, y]) => {
    const { frames } = raster.view, i = Math.min(Math.floor(rowAt(y)), shape[0] - 1);
    tell(`${timeline.time(frames[0] + x * (frames[1] - frames[0])).toFixed(1)} s, ${nameOf(i)}`);
  },
  click: ([, y]) => pick(Math.min(Math.floor(rowAt(y)), shape[0] - 1)),
}, () => drags);
onWheel(raster.canvas, {
  plain: () => tell("Ctrl (⌘) and wheel zoom time, Shift and wheel zoom cells."),
  zoom: (factor, [x, y], isShift) => (isShift ? zoom("rows", factor, y) : zoom("frames", factor, x)),
  aside: (share) => move("frames", share),
});
onKeys(raster.canvas, {
  zoom, move, extend, all: () => show(whole), none: () => select(null),
  name: () => { if (map.chosen?.includes(1)) pick(map.chosen.indexOf(1)).focus(); },
});

/**
 * Change what the map shows, and keep it in the address.
 * @param {() => void} act
 */
function onTheMap(act) {
  act();
  tellMap();
  later();
}

// Draw which part of the brain is shown: the buttons below the map.
function tellMap() {
  const isCells = map.only === null && map.isShown(map.fitted);
  const entries = /** @type {[text: string, isShown: boolean, act: () => void][]} */ ([
    ["cells", isCells, () => map.showCells()],
    ["brain", map.isShown(map.whole), () => map.showBrain()],
    ...(map.outlines.length > 1 ? map.outlines.map(({ fov }) => [`FOV ${fov}`, map.only === fov, () => map.showCells(map.only === fov ? null : fov)]) : []),
  ]);
  const missing = document.getElementById("no-outlines");
  if (missing) missing.hidden = !map.isShown(map.whole);
  const focus = [...html("places").children].indexOf(/** @type {Element} */ (document.activeElement));
  html("places").replaceChildren("Map: ", ...entries.map(([text, isShown, act]) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    button.setAttribute("aria-pressed", String(isShown));
    button.addEventListener("click", () => onTheMap(act));
    return button;
  }));
  if (focus >= 0) /** @type {HTMLElement | undefined} */ (html("places").children[focus])?.focus();
}

let begunMap = map.limits;
onPointers(map.canvas, {
  begin: () => { begunMap = map.limits; },
  drag: (from, to) => onTheMap(() => map.follow(begunMap, [from], [to])),
  pinch: (before, now) => onTheMap(() => map.follow(begunMap, before, now)),
  mark: (from, to) => {
    const { width, height } = map.canvas;
    map.box = [from[0] * width, to[0] * width, from[1] * height, to[1] * height];
    map.draw();
  },
  marked: (isMeant) => {
    const [left, right, back, front] = map.boxInMicrometres().map(Math.round);
    map.box = null;
    if (isMeant) select({ box: [left, right, back, front] });
    else map.draw();
  },
  hover: nameAt,
  click: (at) => {
    const found = nearest(at);
    if (found !== null) pick(found);
    else nameAt(at); // fingers do not hover
  },
}, () => drags);
onWheel(map.canvas, {
  plain: () => tell("Ctrl (⌘) and wheel zoom the map."),
  zoom: (factor, at) => onTheMap(() => map.zoom(factor, at)),
});
onMapKeys(map.canvas, {
  zoom: (factor) => onTheMap(() => map.zoom(factor, [0.5, 0.5])), move: (right, up) => onTheMap(() => map.move(right, up)),
  all: () => onTheMap(() => map.showCells()), none: () => select(null),
});

/** @param {Point} at Fractions of the map. */
function nearest([x, y]) {
  return map.nearest(x * map.canvas.width, y * map.canvas.height);
}

/**
 * Tell which cell is at a point, or else which region.
 * @param {Point} at Fractions of the map.
 */
function nameAt(at) {
  const found = nearest(at);
  tell(found === null ? map.regionAt(at[0] * map.canvas.width, at[1] * map.canvas.height) : nameOf(found));
}

// ---- the tools

/** @param {Drag} what */
function dragTo(what) {
  drags = what;
  for (const one of ["scroll", "select", "move"]) {
    html(`drag-${one}`).setAttribute("aria-pressed", String(one === what));
    for (const canvas of [raster.canvas, map.canvas]) canvas.classList.toggle(one, one === what);
  }
}

/**
 * Listen to an element, if the page has it.
 * @param {string} id
 * @param {string} kind
 * @param {(event: Event) => void} act
 */
const on = (id, kind, act) => document.getElementById(id)?.addEventListener(kind, act);
on("drag-scroll", "click", () => dragTo("scroll"));
on("drag-select", "click", () => dragTo("select"));
on("drag-move", "click", () => dragTo("move"));
on("time-in", "click", () => zoom("frames", 0.5));
on("time-out", "click", () => zoom("frames", 2));
on("cells-in", "click", () => zoom("rows", 0.5));
on("cells-out", "click", () => zoom("rows", 2));
on("whole", "click", () => { show(whole); onTheMap(() => map.showCells()); });
on("clear", "click", () => select(null));
on("color", "change", () => { color(choice.value); later(); });
on("wash", "change", () => { color(choice.value); later(); });
on("contrast", "input", () => { raster.contrast = Number(input("contrast").value); raster.repaint(); drawShades(); later(); });
on("embedding", "change", () => { location.search = `?embedding=${element("embedding", HTMLSelectElement).value}`; });
on("select-shown", "click", () => {
  const [first, last] = raster.view.rows.map(Math.round);
  select({ rows: [first, last] });
});
on("tools", "submit", (event) => event.preventDefault());
on("ranges", "submit", (event) => {
  event.preventDefault();
  const numberIn = (/** @type {string} */ id) => (input(id).value === "" ? NaN : Number(input(id).value));
  /** @type {Pair[]} */
  const [rows, times] = [[numberIn("from-row"), numberIn("to-row")], [numberIn("from-time"), numberIn("to-time")]];
  /** @type {Pair} */
  const all = [timeline.time(0), timeline.time(shape[1])];
  const isIn = (/** @type {Pair} */ [first, last], /** @type {Pair} */ [least, most]) => first < last && first < most && last > least;
  html("refused").textContent = !isIn(times, all)
    ? `Times are two numbers, the smaller first, within ${all[0].toFixed(1)} to ${all[1].toFixed(1)} s.`
    : !isIn(rows, [0, shape[0]]) ? `Cells are two numbers, the smaller first, within 0 to ${shape[0]}.` : "";
  if (!html("refused").textContent) show({ rows, frames: framesAt(times) });
});

// ---- the size of the window, and light and dark

function fit() {
  for (const id of ["raster", "rows", "strip", "events", "axis", "map"]) {
    const canvas = canvasOf(id), { width, height } = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
  }
}

if (matchMedia("(pointer: coarse)").matches) { // on a touch screen, dragging scrolls the page at first
  html("drag-scroll").hidden = false;
  dragTo("scroll");
}
restore();
addEventListener("popstate", restore);
new ResizeObserver(() => {
  fit();
  mean.resize();
  map.draw();
  raster.show(raster.view);
}).observe(viewer);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { color(choice.value); later(); });
tell("Point at a cell to see its name; click it to open its page.");
viewer.dataset.ready = "yes";
window.meso = { raster, timeline, map, mean }; // for tests and benchmarks
