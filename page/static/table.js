// Tables that are sorted by a click on a heading, and filtered by words and numbers; the address keeps both.
"use strict";
const table = document.getElementById("sessions");
const search = document.getElementById("search");
const least = document.getElementById("least");
const failing = document.getElementById("failing");

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = Number(text);
  return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
}

function sort(column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
  rows.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (descending ? -1 : 1));
  body.append(...rows.map(([, row]) => row));
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    if (i === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table ? table.tBodies[0].rows : []) {
    row._text ??= `${row.textContent} ${row.dataset.words}`.toLowerCase();
    const fits = words.every((word) => row._text.includes(word))
      && Number(row.dataset.neurons) >= Number(least.value || 0)
      && (!failing.checked || row.dataset.errors !== "0");
    row.hidden = !fits;
    shown += fits;
  }
  document.getElementById("count").textContent = shown ? `${shown} session${shown === 1 ? "" : "s"}` : "No session fits";
  keep({ q: search.value, least: least.value, failing: failing.checked ? "1" : "" });
}

function keep(values) {
  const address = new URL(location);
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
document.getElementById("filter").addEventListener("input", filter);
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
table?.tHead.addEventListener("click", (event) => {
  const head = event.target.closest("th");
  if (!head) return;
  const descending = head.getAttribute("aria-sort") === "ascending";
  sort(head.cellIndex, descending);
  keep({ sort: `${descending ? "-" : ""}${head.textContent.trim()}` });
});
const order = asked.get("sort");
if (order && table) {
  const heads = [...table.tHead.rows[0].cells].map((head) => head.textContent.trim());
  const column = heads.indexOf(order.replace(/^-/, ""));
  if (column >= 0) sort(column, order.startsWith("-"));
}
filter();
