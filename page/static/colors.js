// Colours of cells by region, rank and other properties, and the page's own colours in light and dark mode.

// matplotlib's viridis at 9 equal steps; colours between them are interpolated
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
const NO_VALUE = "#9a9a9a"; // of cells without a value, such as those without a position
/** @type {Record<string, string>} */
const UNITS = { rank: "of the order", probability: "probability", dv: "µm DV (less is deeper)", days: "sessions", fov: "FOV" };

/**
 * @param {string} hex
 * @returns {Color}
 */
export function rgb(hex) {
  const number = parseInt(hex.slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

/**
 * Return the colour at a place on the scale, 0 to 1.
 * @param {number} share
 * @returns {string}
 */
export function ramp(share) {
  const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const [a, b] = [rgb(VIRIDIS[i]), rgb(VIRIDIS[i + 1])];
  const mixed = a.map((value, k) => Math.round(value + (b[k] - value) * (place - i)));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
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
  const n = cells.fov.length;
  /** @type {Record<string, (i: number) => [name: string, color: string, title: string]>} */
  const ways = {
    region: (i) => [cells.regions[cells.region[i]].acronym, cells.regions[cells.region[i]].distinct, cells.regions[cells.region[i]].name],
    allen: (i) => [cells.regions[cells.region[i]].acronym, cells.regions[cells.region[i]].allen, cells.regions[cells.region[i]].name],
    area: (i) => [cells.regions[cells.region[i]].area, cells.regions[cells.region[i]].of_area, cells.regions[cells.region[i]].area],
  };
  const named = ways[by];
  if (named) {
    /** @type {Map<string, Group>} */
    const groups = new Map();
    const of = new Array(n);
    for (let i = 0; i < n; i++) {
      const [name, color, title] = named(i);
      of[i] = color;
      const group = groups.get(name) ?? { name, color, title, n: 0 };
      groups.set(name, group);
      group.n++;
    }
    return { of, groups: [...groups.values()].sort((a, b) => b.n - a.n), low: 0, high: 1, unit: "" };
  }
  /** @type {(number | null)[]} */
  const values = by === "rank" ? cells.fov.map((_, i) => i) : cells[/** @type {"probability" | "dv" | "days" | "fov"} */ (by)];
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  // the scale goes from the 1st to the 99th percentile, so that a few outliers do not compress it
  const low = sorted[Math.floor(0.01 * sorted.length)] ?? 0;
  const high = sorted[Math.max(Math.ceil(0.99 * sorted.length) - 1, 0)] ?? 1;
  const span = high > low ? high - low : 1;
  return { of: values.map((value) => (value === null ? NO_VALUE : ramp((value - low) / span))), groups: null, low, high, unit: UNITS[by] };
}

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
