// The page of a session: raster, map and mean trace of one selection, which the address keeps.
import { coloring, css, page, ramp } from "./colors.js";
import { CellMap } from "./map.js";
import { Raster, commonest } from "./raster.js";
import { Timeline } from "./timeline.js";

const viewer = document.getElementById("viewer");
if (viewer) start().catch((error) => tell(`This session cannot be shown: ${error.message}`));

function element(id) {
  return document.getElementById(id);
}

function tell(text) {
  element("where").textContent = text;
}

async function get(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

async function start() {
  const { eid, embedding, version, cells: nCells, frames: nFrames } = viewer.dataset;
  const base = `/sessions/${encodeURIComponent(eid)}`;
  const of = `embedding=${embedding}&v=${version}`;
  const shape = [Number(nCells), Number(nFrames)];
  const raster = new Raster(element("raster"), `${base}/raster?${of}`, shape);
  fit();
  const asked = new URLSearchParams(location.search);
  const whole = { rows: [0, shape[0]], frames: [0, shape[1]] };
  raster.view = whole;
  const [cells, line] = await Promise.all([
    get(`${base}/cells.json?${of}`).then((answer) => answer.json()),
    get(`${base}/timeline.json?${of}`).then((answer) => answer.json()),
    raster.ask(), // the whole, which stays behind every part
  ]);
  const timeline = new Timeline(element("events"), element("axis"), line);
  const map = new CellMap(element("map"), cells);
  let selection = null; // { rows: [first, last] }, { box: [ml, ml, ap, ap] } or { region: acronym }
  let colors = null;
  let drag = "select";
  let band = null; // rows that are being selected
  let means = null; // plot
  let saving = null;

  // ---- what is shown

  function color(by) {
    element("color").value = by;
    colors = coloring(cells, element("color").value || "region");
    map.colors = colors.of;
    raster.tints = element("wash").checked ? colors.of : null;
    raster.repaint();
    map.draw();
    drawStrip();
    drawLegend();
  }

  function drawStrip() {
    const canvas = element("strip"), context = canvas.getContext("2d");
    const { rows } = raster.view;
    const per = (rows[1] - rows[0]) / canvas.height;
    for (let y = 0; y < canvas.height; y++) {
      const first = Math.floor(rows[0] + y * per);
      context.fillStyle = commonest(colors.of, first, Math.max(first + 1, Math.floor(first + per)));
      context.fillRect(0, y, canvas.width, 1);
    }
    if (!map.chosen) return;
    context.fillStyle = css(page().ink);
    for (let y = 0; y < canvas.height; y++) {
      const first = Math.floor(rows[0] + y * per);
      for (let i = first; i < Math.max(first + 1, first + per) && i < shape[0]; i++) {
        if (map.chosen[i]) { context.fillRect(0, y, canvas.width * 0.45, 1); break; }
      }
    }
  }

  function drawLegend() {
    const legend = element("legend");
    legend.replaceChildren();
    if (!colors.groups) {
      const bar = document.createElement("canvas");
      bar.className = "ramp";
      bar.width = 160;
      bar.height = 11;
      const context = bar.getContext("2d");
      for (let x = 0; x < 160; x++) { context.fillStyle = ramp(x / 159); context.fillRect(x, 0, 1, 11); }
      legend.append(`${round(colors.low)} `, bar, ` ${round(colors.high)}`);
      return;
    }
    for (const group of colors.groups) {
      const button = document.createElement("button"), dot = document.createElement("i");
      button.type = "button";
      dot.style.background = group.color;
      button.append(dot, `${group.name} (${group.n})`);
      button.title = group.title;
      button.setAttribute("aria-pressed", String(selection?.region === group.name));
      button.addEventListener("click", () => select(selection?.region === group.name ? null : { region: group.name }));
      legend.append(button);
    }
  }

  raster.drawn = () => {
    timeline.draw(raster.view.frames);
    if (!colors) return;
    drawStrip();
    const context = raster.canvas.getContext("2d");
    const rows = band ?? selection?.rows;
    if (!rows) return;
    const y = (row) => ((row - raster.view.rows[0]) / (raster.view.rows[1] - raster.view.rows[0])) * raster.canvas.height;
    context.fillStyle = css(page().accent, 0.16);
    context.fillRect(0, y(rows[0]), raster.canvas.width, y(rows[1]) - y(rows[0]));
    context.fillStyle = css(page().accent);
    for (const row of rows) context.fillRect(0, y(row) - 1, raster.canvas.width, 2);
  };
  raster.failed = (error) => tell(`The raster cannot be had: ${error.message}`);

  function show(view) {
    raster.show(view);
    const { rows, frames } = raster.view;
    element("from-time").value = timeline.time(frames[0]).toFixed(1);
    element("to-time").value = timeline.time(frames[1]).toFixed(1);
    element("from-row").value = Math.round(rows[0]);
    element("to-row").value = Math.round(rows[1]);
    later();
  }

  // ---- the selection

  async function select(chosen) {
    selection = chosen;
    map.chosen = null;
    if (chosen) {
      map.chosen = new Uint8Array(shape[0]);
      const by = element("color").value;
      for (let i = 0; i < shape[0]; i++) map.chosen[i] = isChosen(i, by);
    }
    map.draw();
    raster.draw();
    drawLegend();
    tellSelection();
    later();
  }

  function isChosen(i, by) {
    if (selection.rows) return i >= selection.rows[0] && i < selection.rows[1];
    if (selection.box) {
      const [left, right, back, front] = selection.box;
      return cells.ml[i] !== null && cells.ml[i] >= left && cells.ml[i] <= right && cells.ap[i] >= back && cells.ap[i] <= front;
    }
    const region = cells.regions[cells.region[i]];
    return region.acronym === selection.region || region.area === selection.region;
  }

  function tellSelection() {
    const n = map.chosen ? map.chosen.reduce((a, b) => a + b, 0) : 0;
    if (!selection) tell(`${shape[0]} cells, ${shape[1]} frames. Drag over the raster or the map to select cells.`);
    else tell(`${n} cells selected${selection.rows ? ` (${selection.rows[0]} to ${selection.rows[1]} of the order)` : selection.region ? ` in ${selection.region}` : ""}.`);
  }

  async function drawMean() {
    const { frames } = raster.view;
    const width = Math.max(raster.canvas.clientWidth, 100);
    const what = selection
      ? Object.entries(selection).map(([name, value]) => `${name}=${encodeURIComponent(Array.isArray(value) ? value.join(name === "rows" ? ":" : ",") : value)}`)[0]
      : `rows=0:${shape[0]}`;
    let values, edges;
    try {
      const answer = await get(`${base}/mean?${of}&${what}&frames=${frames[0].toFixed(1)}:${frames[1].toFixed(1)}&width=${width}`);
      values = new Float32Array(await answer.arrayBuffer());
      edges = answer.headers.get("x-frames").split(",").map(Number);
    } catch {
      values = new Float32Array(0); // nobody is selected
      edges = frames;
    }
    const step = (edges[1] - edges[0]) / Math.max(values.length, 1);
    const data = [Array.from(values, (_, i) => edges[0] + (i + 0.5) * step), Array.from(values)];
    if (means && means.colors === css(page().ink)) {
      means.setData(data, false);
      means.setScale("x", { min: frames[0], max: frames[1] });
      return;
    }
    means?.destroy();
    means = new window.uPlot({
      width, height: 110, legend: { show: false }, cursor: { show: false },
      padding: [6, 0, 0, 0],
      scales: { x: { time: false, auto: false, range: () => raster.view.frames }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high || 1) * 1.05] } },
      axes: [{ show: false }, { show: false }],
      series: [{}, { stroke: css(page().ink), width: 1, points: { show: false } }],
      hooks: { draw: [labelMean] },
    }, data, element("mean"));
    means.colors = css(page().ink);
    means.setScale("x", { min: frames[0], max: frames[1] });
  }

  function labelMean(plot) {
    const context = plot.ctx;
    context.fillStyle = css(page().faint);
    context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    context.textAlign = "left";
    const top = plot.scales.y.max;
    const n = map.chosen ? map.chosen.reduce((a, b) => a + b, 0) : shape[0];
    context.fillText(`mean of ${n} cells, 0 to ${top.toFixed(2)} (each cell p20 to p99 = 0 to 1)`, 4 * devicePixelRatio, 12 * devicePixelRatio);
  }

  // ---- the address: it can be sent to a colleague, and shows the same

  function later() {
    clearTimeout(saving);
    saving = setTimeout(() => { drawMean(); save(); }, 120);
  }

  function save() {
    const address = new URL(location);
    const set = (name, value) => (value ? address.searchParams.set(name, value) : address.searchParams.delete(name));
    const { rows, frames } = raster.view;
    const isWhole = (pair, size) => pair[0] <= 0 && pair[1] >= size;
    set("t", isWhole(frames, shape[1]) ? "" : frames.map((frame) => timeline.time(frame).toFixed(1)).join(":"));
    set("cells", isWhole(rows, shape[0]) ? "" : rows.map(Math.round).join(":"));
    set("color", element("color").value === "region" ? "" : element("color").value);
    set("rows", selection?.rows?.join(":"));
    set("box", selection?.box?.map((um) => um.toFixed(0)).join(","));
    set("region", selection?.region);
    if (address.href !== location.href) history.replaceState(null, "", address);
  }

  function restore() {
    const pair = (name, size) => {
      const values = (asked.get(name) ?? "").split(":").map(Number);
      return values.length === 2 && values[0] < values[1] ? values : [0, size];
    };
    const view = { rows: pair("cells", shape[0]), frames: asked.get("t") ? pair("t", 0).map((time) => timeline.frame(time)) : [0, shape[1]] };
    const ways = [...element("color").options].map((option) => option.value);
    color(ways.includes(asked.get("color")) ? asked.get("color") : "region");
    show(view);
    const numbers = (name, by, n) => {
      const values = (asked.get(name) ?? "").split(by).map(Number);
      return asked.get(name) && values.length === n && values.every(Number.isFinite) ? values : null;
    };
    const rows = numbers("rows", ":", 2), box = numbers("box", ",", 4), region = asked.get("region");
    select(rows ? { rows } : box ? { box } : region ? { region } : null);
  }

  // ---- moving

  function zoom(axis, factor, at = 0.5) {
    const view = { ...raster.view };
    const [first, last] = view[axis];
    const middle = first + at * (last - first);
    view[axis] = [middle - (middle - first) * factor, middle + (last - middle) * factor];
    show(view);
  }

  function move(axis, share) {
    const view = { ...raster.view };
    const by = share * (view[axis][1] - view[axis][0]);
    view[axis] = view[axis].map((value) => value + by);
    show(view);
  }

  function place(event) {
    const box = event.currentTarget.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  function rowAt(share) {
    const { rows } = raster.view;
    return Math.min(Math.max(rows[0] + share * (rows[1] - rows[0]), 0), shape[0]);
  }

  const fingers = new Map();
  let begun = null;
  raster.canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = place(event);
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) && !event.shiftKey) return move("frames", event.deltaX / 800);
    const factor = Math.exp(Math.min(Math.max(event.deltaY || event.deltaX, -60), 60) / 150);
    if (event.shiftKey) zoom("rows", factor, y);
    else zoom("frames", factor, x);
  }, { passive: false });
  raster.canvas.addEventListener("pointerdown", (event) => {
    raster.canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, place(event));
    begun = { view: raster.view, at: place(event), fingers: [...fingers.values()] };
  });
  raster.canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!fingers.has(event.pointerId)) return describe(at);
    fingers.set(event.pointerId, at);
    if (fingers.size === 2) return pinch();
    if (drag === "move" || event.shiftKey || event.buttons === 4) {
      const by = (axis, k) => begun.view[axis].map((value) => value - (at[k] - begun.at[k]) * (begun.view[axis][1] - begun.view[axis][0]));
      show({ rows: by("rows", 1), frames: by("frames", 0) });
    } else {
      band = [rowAt(begun.at[1]), rowAt(at[1])].sort((a, b) => a - b);
      raster.draw();
    }
  });
  const lift = (event) => {
    if (!fingers.delete(event.pointerId) || !begun) return;
    const chosen = band && [Math.floor(band[0]), Math.ceil(band[1])];
    band = null;
    if (event.type === "pointerup" && chosen && Math.abs(place(event)[1] - begun.at[1]) > 0.005) select({ rows: chosen });
    else if (event.type === "pointerup" && drag === "select" && fingers.size === 0) pick(Math.floor(rowAt(begun.at[1])));
  };
  raster.canvas.addEventListener("pointerup", lift);
  raster.canvas.addEventListener("pointercancel", lift);

  function pinch() {
    const [a, b] = [...fingers.values()];
    const [c, d] = begun.fingers.length === 2 ? begun.fingers : [a, b];
    begun.fingers = begun.fingers.length === 2 ? begun.fingers : [a, b];
    const view = {};
    [["frames", 0], ["rows", 1]].forEach(([axis, k]) => {
      const [first, last] = begun.view[axis], span = last - first;
      const before = Math.abs(c[k] - d[k]), now = Math.abs(a[k] - b[k]);
      const factor = before > 0.08 && now > 0.08 ? before / now : 1;
      const held = first + ((c[k] + d[k]) / 2) * span;
      view[axis] = [held - ((a[k] + b[k]) / 2) * span * factor, held + (1 - (a[k] + b[k]) / 2) * span * factor];
    });
    show(view);
  }

  function describe([x, y]) {
    const { frames } = raster.view;
    const i = Math.min(Math.floor(rowAt(y)), shape[0] - 1);
    tell(`${timeline.time(frames[0] + x * (frames[1] - frames[0])).toFixed(1)} s, ${nameOf(i)}`);
  }

  function nameOf(i) {
    return `cell ${i} of the order: FOV ${cells.fov[i]}, ROI ${cells.roi[i]}, ${cells.regions[cells.region[i]].acronym}`;
  }

  function pick(i) {
    if (i < 0 || i >= shape[0]) return;
    const link = document.createElement("a");
    link.href = `${base}/cells/${cells.fov[i]}/${cells.roi[i]}`;
    link.textContent = nameOf(i);
    element("picked").replaceChildren(link);
  }

  const keys = {
    ArrowLeft: () => move("frames", -0.2), ArrowRight: () => move("frames", 0.2),
    ArrowUp: (event) => (event.shiftKey ? extend(-1) : move("rows", -0.2)),
    ArrowDown: (event) => (event.shiftKey ? extend(1) : move("rows", 0.2)),
    "+": () => zoom("frames", 0.7), "=": () => zoom("frames", 0.7), "-": () => zoom("frames", 1 / 0.7),
    "*": () => zoom("rows", 0.7), _: () => zoom("rows", 1 / 0.7),
    0: () => show(whole), Escape: () => select(null),
  };
  raster.canvas.addEventListener("keydown", (event) => {
    const act = event.shiftKey && event.code === "Equal" ? () => zoom("rows", 0.7) : event.shiftKey && event.code === "Minus" ? keys._ : keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(event);
  });

  function extend(direction) {
    const step = Math.max(1, Math.round((raster.view.rows[1] - raster.view.rows[0]) / 20));
    const middle = Math.round((raster.view.rows[0] + raster.view.rows[1]) / 2);
    const [first, last] = selection?.rows ?? [middle, middle + (direction < 0 ? step : 0)];
    const end = Math.min(Math.max(last + direction * step, first + 1), shape[0]);
    select({ rows: [first, end] });
  }

  let corner = null;
  map.canvas.addEventListener("pointerdown", (event) => {
    map.canvas.setPointerCapture(event.pointerId);
    corner = place(event);
  });
  map.canvas.addEventListener("pointermove", (event) => {
    if (!corner) return;
    const at = place(event);
    map.box = [corner[0] * map.canvas.width, at[0] * map.canvas.width, corner[1] * map.canvas.height, at[1] * map.canvas.height];
    map.draw();
  });
  map.canvas.addEventListener("pointerup", (event) => {
    if (!corner) return;
    const at = place(event), isClick = Math.hypot(at[0] - corner[0], at[1] - corner[1]) < 0.012;
    const box = map.box && !isClick ? map.boxInMicrometres() : null;
    const found = isClick ? map.nearest(at[0] * map.canvas.width, at[1] * map.canvas.height) : null;
    corner = map.box = null;
    if (box) select({ box });
    else if (found !== null) pick(found);
    map.draw();
  });
  map.canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") select(null);
  });

  // ---- the tools

  const on = (id, kind, act) => element(id)?.addEventListener(kind, act);
  const dragTo = (what) => () => {
    drag = what;
    for (const one of ["select", "move"]) element(`drag-${one}`).setAttribute("aria-pressed", String(one === what));
    raster.canvas.classList.toggle("moving", what === "move");
  };
  on("drag-select", "click", dragTo("select"));
  on("drag-move", "click", dragTo("move"));
  on("time-in", "click", () => zoom("frames", 0.5));
  on("time-out", "click", () => zoom("frames", 2));
  on("cells-in", "click", () => zoom("rows", 0.5));
  on("cells-out", "click", () => zoom("rows", 2));
  on("whole", "click", () => show(whole));
  on("clear", "click", () => select(null));
  on("color", "change", () => { color(element("color").value); later(); });
  on("wash", "change", () => color(element("color").value));
  on("contrast", "input", () => { raster.contrast = Number(element("contrast").value); raster.repaint(); });
  on("embedding", "change", () => element("tools").submit());
  on("select-shown", "click", () => select({ rows: raster.view.rows.map(Math.round) }));
  on("tools", "submit", (event) => event.preventDefault());
  on("ranges", "submit", (event) => {
    event.preventDefault();
    const value = (id) => Number(element(id).value);
    show({ rows: [value("from-row"), value("to-row")], frames: [timeline.frame(value("from-time")), timeline.frame(value("to-time"))] });
  });

  // ---- the size of the window, and light and dark

  function fit() {
    for (const id of ["raster", "strip", "events", "axis", "map"]) {
      const canvas = element(id), { width, height } = canvas.getBoundingClientRect();
      canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
      canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
    }
  }
  new ResizeObserver(() => {
    fit();
    means?.setSize({ width: Math.max(raster.canvas.clientWidth, 100), height: 110 });
    map.draw();
    raster.show(raster.view);
  }).observe(viewer);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { color(element("color").value); drawMean(); });

  restore();
  viewer.dataset.ready = "yes";
  window.meso = { raster, timeline, map }; // for whoever measures
}

const round = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));
