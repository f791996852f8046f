// Colours of cells by region, rank and other properties, and the page's own colours in light and dark mode.

// Steps of matplotlib's plasma, those with enough contrast against white paper and against dark paper; colours between
// them are interpolated.
const LIGHT = ["#0d0887", "#4903a0", "#7e03a8", "#a82296", "#cb4679", "#d7566c"];
const DARK = ["#b83289", "#cb4679", "#e16462", "#f38b48", "#fdb42f", "#f0f921"];
const NO_VALUE = "#808080"; // of cells without a value, such as those without a position
const CONTRAST = 3; // least contrast of a mark against the paper (WCAG 2, 1.4.11)
/** @type {Record<string, string>} */
const UNITS = { rank: "of the order", probability: "probability", dv: "µm DV (less is deeper)", days: "sessions" };

/**
 * @param {string} hex
 * @returns {Color}
 */
export function rgb(hex) {
  const number = parseInt(hex.slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

const hex = (/** @type {number[]} */ color) => `#${color.map((value) => Math.round(value).toString(16).padStart(2, "0")).join("")}`;

/**
 * Return the relative luminance of a colour (WCAG 2), 0 to 1.
 * @param {Color} color
 */
function luminance(color) {
  const [r, g, b] = color.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/**
 * Return the contrast of two colours (WCAG 2), 1 to 21.
 * @param {Color} one
 * @param {Color} other
 */
function contrastOf(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/**
 * Return a colour that can be seen on the paper: this one, mixed with as much ink as its contrast needs.
 * @param {string} color
 * @param {PageColors} shades
 */
export function readable(color, { paper, ink }) {
  const own = rgb(color);
  for (let share = 0; share < 1; share += 0.05) {
    const mixed = /** @type {Color} */ (own.map((value, k) => value + (ink[k] - value) * share));
    if (contrastOf(mixed, paper) >= CONTRAST) return hex(mixed);
  }
  return hex(ink);
}

/**
 * Return the colour at a place on the scale, 0 to 1.
 * @param {number} share
 * @param {PageColors} shades
 * @returns {string}
 */
export function ramp(share, { paper }) {
  const steps = luminance(paper) > 0.5 ? LIGHT : DARK;
  const place = Math.min(Math.max(share, 0), 1) * (steps.length - 1);
  const i = Math.min(Math.floor(place), steps.length - 2);
  const [a, b] = [rgb(steps[i]), rgb(steps[i + 1])];
  return hex(a.map((value, k) => value + (b[k] - value) * (place - i)));
}

/**
 * Return the page's current colours; they change with the browser's light or dark mode.
 * @returns {PageColors}
 */
export function page() {
  const style = getComputedStyle(document.documentElement);
  // light-dark() is resolved only in the computed style of an element
  const probe = document.createElement("i");
  document.body.append(probe);
  /** @returns {Color} */
  const color = (/** @type {string} */ name) => {
    probe.style.color = style.getPropertyValue(name);
    const [r, g, b] = (getComputedStyle(probe).color.match(/[\d.]+/g) ?? []).map(Number);
    return [r, g, b];
  };
  const found = { paper: color("--paper"), ink: color("--ink"), faint: color("--faint"), accent: color("--running"), line: color("--line") };
  probe.remove();
  return found;
}

/**
 * @param {Color} color
 * @returns {string}
 */
export const css = ([r, g, b], alpha = 1) => `rgba(${r}, ${g}, ${b}, ${alpha})`;

/**
 * Return the colour of each cell, by the property chosen on the page.
 * @param {Cells} cells
 * @param {string} by
 * @returns {Coloring}
 */
export function coloring(cells, by) {
  const n = cells.fov.length, shades = page();
  /** @type {Map<string, string>} */
  const seen = new Map(); // there are few colours and many cells
  const visible = (/** @type {string} */ color) => seen.get(color) ?? seen.set(color, readable(color, shades)).get(color) ?? color;
  /** @type {Record<string, (i: number) => [name: string, color: string, title: string]>} */
  const ways = {
    region: (i) => [cells.regions[cells.region[i]].acronym, cells.regions[cells.region[i]].distinct, cells.regions[cells.region[i]].name],
    allen: (i) => [cells.regions[cells.region[i]].acronym, cells.regions[cells.region[i]].allen, cells.regions[cells.region[i]].name],
    area: (i) => [cells.regions[cells.region[i]].area, cells.regions[cells.region[i]].of_area, cells.regions[cells.region[i]].area],
    fov: (i) => [`FOV ${cells.fov[i]}`, cells.fovs[String(cells.fov[i])].color, depthOf(cells.fovs[String(cells.fov[i])].depth)],
  };
  const named = ways[by];
  if (named) {
    /** @type {Map<string, Group>} */
    const groups = new Map();
    const of = new Array(n);
    for (let i = 0; i < n; i++) {
      const [name, given, title] = named(i), color = visible(given);
      of[i] = color;
      const group = groups.get(name) ?? { name, color, title, n: 0 };
      groups.set(name, group);
      group.n++;
    }
    return { of, groups: [...groups.values()].sort((a, b) => b.n - a.n), low: 0, high: 1, unit: "" };
  }
  /** @type {(number | null)[]} */
  const values = by === "rank" ? cells.fov.map((_, i) => i) : cells[/** @type {"probability" | "dv" | "days"} */ (by)];
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  // the scale goes from the 1st to the 99th percentile, so that a few outliers do not compress it
  const low = sorted[Math.floor(0.01 * sorted.length)] ?? 0;
  const high = sorted[Math.max(Math.ceil(0.99 * sorted.length) - 1, 0)] ?? 1;
  const span = high > low ? high - low : 1;
  return { of: values.map((value) => (value === null ? NO_VALUE : ramp((value - low) / span, shades))), groups: null, low, high, unit: UNITS[by] };
}

const depthOf = (/** @type {number | null} */ depth) => (depth === null ? "depth unknown" : `mean depth ${depth} µm`);

/**
 * Return elements for a legend: a coloured dot and a name for each entry.
 * @param {[text: string, color: string][]} entries
 */
export function keyOf(entries) {
  return entries.map(([text, color]) => {
    const entry = document.createElement("span"), dot = document.createElement("i");
    dot.style.background = color;
    entry.append(dot, text);
    return entry;
  });
}
