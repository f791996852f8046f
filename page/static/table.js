// Sort a table by clicking a heading, and filter it by words and numbers. The address keeps both.
import { element } from "./dom.js";

// null while no session is registered
const table = /** @type {HTMLTableElement | null} */ (document.getElementById("sessions"));
const search = element("search", HTMLInputElement);
const least = element("least", HTMLInputElement);
const failing = element("failing", HTMLInputElement);
/** @type {Map<HTMLTableRowElement, string>} searchable text of each row */
const texts = new Map();

/**
 * @param {HTMLTableRowElement} row
 * @param {number} column
 */
function sortValue(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? (cell.textContent ?? "").trim();
  const number = Number(text);
  return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
}

/**
 * @param {HTMLTableElement} table
 * @param {number} column
 * @param {boolean} descending
 */
function sort(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ value: sortValue(row, column), row }));
  rows.sort(({ value: a }, { value: b }) => (a < b ? -1 : a > b ? 1 : 0) * (descending ? -1 : 1));
  body.append(...rows.map(({ row }) => row));
  headsOf(table).forEach((head, i) => {
    if (i === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

/** @param {HTMLTableElement} table */
function headsOf(table) {
  return [...(table.tHead?.rows[0].cells ?? [])];
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table ? table.tBodies[0].rows : []) {
    const text = texts.get(row) ?? `${row.textContent} ${row.dataset.words}`.toLowerCase();
    texts.set(row, text);
    const fits = words.every((word) => text.includes(word))
      && Number(row.dataset.neurons) >= Number(least.value || 0)
      && (!failing.checked || row.dataset.errors !== "0");
    row.hidden = !fits;
    shown += Number(fits);
  }
  element("count", HTMLElement).textContent = shown ? `${shown} session${shown === 1 ? "" : "s"}` : "No session matches";
  keep({ q: search.value, least: least.value, failing: failing.checked ? "1" : "" });
}

/** @param {Record<string, string>} values */
function keep(values) {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
  }
  if (address.href !== location.href) history.replaceState(null, "", address);
}

const asked = new URLSearchParams(location.search);
search.value = asked.get("q") ?? "";
least.value = asked.get("least") ?? "";
failing.checked = asked.get("failing") === "1";
element("filter", HTMLFormElement).addEventListener("input", filter);
element("filter", HTMLFormElement).addEventListener("submit", (event) => event.preventDefault());
table?.tHead?.addEventListener("click", (event) => {
  const head = /** @type {Element} */ (event.target).closest("th");
  if (!head) return;
  const descending = head.getAttribute("aria-sort") === "ascending";
  sort(table, head.cellIndex, descending);
  keep({ sort: `${descending ? "-" : ""}${(head.textContent ?? "").trim()}` });
});
const order = asked.get("sort");
if (order && table) {
  const heads = headsOf(table).map((head) => (head.textContent ?? "").trim());
  const column = heads.indexOf(order.replace(/^-/, ""));
  if (column >= 0) sort(table, column, order.startsWith("-"));
}
filter();
