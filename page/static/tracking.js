// Choose sessions, and see how many cells they share.
import { css, page } from "./colors.js";
import { contextOf, element } from "./dom.js";

const source = document.getElementById("data");
if (source) start(JSON.parse(source.textContent ?? ""));

/** @param {TrackingData} data */
function start({ patterns, dates, eids, subject, run }) {
  const form = element("choice", HTMLFormElement);
  /** @type {HTMLInputElement[]} */
  const boxes = [...form.querySelectorAll(/** @type {"input"} */ ("input[name=session]"))];
  const canvas = element("presence", HTMLCanvasElement);
  const sets = patterns.map((pattern) => new Set(pattern.sessions));
  const total = patterns.reduce((n, pattern) => n + pattern.n, 0);
  const count = (/** @type {number[]} */ sessions) => patterns.reduce((n, pattern, i) => n + (sessions.every((s) => sets[i].has(s)) ? pattern.n : 0), 0);
  const asked = new URLSearchParams(location.search).getAll("session");
  if (asked.length) for (const box of boxes) box.checked = asked.includes(box.value);

  function chosen() {
    return boxes.map((box, i) => (box.checked ? i : -1)).filter((i) => i >= 0);
  }

  function draw() {
    const now = chosen();
    element("shared", HTMLElement).textContent = now.length
      ? `${count(now)} of ${total} cells were found in all ${now.length} chosen session${now.length === 1 ? "" : "s"}`
      : `${total} cells; choose sessions`;
    for (const one of form.querySelectorAll(/** @type {"span"} */ ("[data-count]"))) {
      const s = Number(one.dataset.count);
      const others = now.filter((i) => i !== s);
      one.textContent = boxes[s].checked
        ? `${count([s])} cells; without it ${others.length ? count(others) : 0} shared`
        : `${count([s])} cells; with it ${count([...now, s])} shared`;
    }
    drawPresence(now);
    drawPairs(now);
    later(now);
    const address = new URL(location.href);
    address.searchParams.delete("session");
    if (now.length < boxes.length) for (const i of now) address.searchParams.append("session", eids[i]);
    history.replaceState(null, "", address);
    const link = (/** @type {string} */ path, /** @type {string} */ name, /** @type {string} */ text) => {
      const one = document.createElement("a");
      one.href = `${path}${now.map((i) => `&${name}=${eids[i]}`).join("")}`;
      one.textContent = text;
      return one;
    };
    const of = `subject=${encodeURIComponent(subject)}`;
    element("link", HTMLElement).replaceChildren(
      link(`/ndc?${of}`, "eid", "Neuron-dropping curves of these sessions"),
      ...(now.length ? [" · ", link(`/tracking.csv?${of}&run=${run}`, "session", "these cells as CSV")] : []),
    );
  }

  /** @param {number[]} now Numbers of the chosen sessions. */
  function drawPresence(now) {
    const ratio = devicePixelRatio, color = page();
    // at least as wide as a line of text, which stands upright above each column
    const across = Math.max(Math.min(34, 560 / dates.length), 14), tall = 320, top = 84;
    canvas.width = (across * dates.length + 70) * ratio;
    canvas.height = (top + tall) * ratio;
    canvas.style.width = `${across * dates.length + 70}px`;
    canvas.style.height = `${top + tall}px`;
    const context = contextOf(canvas);
    context.font = `${12 * ratio}px system-ui, sans-serif`;
    context.fillStyle = css(color.ink);
    dates.forEach((date, s) => {
      context.save();
      context.translate((s * across + across / 2 + 3) * ratio, (top - 5) * ratio);
      context.rotate(-Math.PI / 2);
      context.fillText(date, 0, 0);
      context.restore();
    });
    let y = top;
    patterns.forEach((pattern, i) => {
      const height = (pattern.n / total) * (tall - 2);
      const isShared = now.length > 0 && now.every((s) => sets[i].has(s));
      for (const s of pattern.sessions) {
        context.fillStyle = isShared ? css(color.accent) : css(color.faint, boxes[s].checked ? 0.75 : 0.3);
        context.fillRect(s * across * ratio, y * ratio, (across - 2) * ratio, Math.max(height * ratio, 0.5));
      }
      y += height;
    });
    context.fillStyle = css(color.faint);
    context.fillText(`${total} cells`, (across * dates.length + 4) * ratio, (top + 12) * ratio);
  }

  let waiting = 0, asked_for = 0; // timer, and number of the newest request

  /** @param {number[]} now */
  function later(now) {
    clearTimeout(waiting);
    waiting = setTimeout(() => listCells(now).catch((error) => {
      element("listed", HTMLElement).textContent = `The cells could not be listed: ${error.message}`;
    }), 200);
  }

  /**
   * List the cells found in all chosen sessions; each leads to its page in each of them.
   * @param {number[]} now
   */
  async function listCells(now) {
    const table = element("cells", HTMLTableElement), told = element("listed", HTMLElement), own = ++asked_for;
    if (!now.length) {
      table.replaceChildren();
      told.textContent = "";
      return;
    }
    const answer = await fetch(`/tracking/cells.json?subject=${encodeURIComponent(subject)}&run=${run}${now.map((i) => `&session=${eids[i]}`).join("")}`);
    if (!answer.ok) throw new Error(await answer.text());
    /** @type {TrackedCells} */
    const { n, cells } = await answer.json();
    if (own !== asked_for) return;
    told.textContent = n > cells.length ? `The first ${cells.length} of ${n} cells; the CSV has all.` : "";
    table.replaceChildren();
    const head = table.createTHead().insertRow();
    for (const text of ["cell", ...now.map((s) => dates[s])]) head.append(Object.assign(document.createElement("th"), { scope: "col", textContent: text }));
    const body = table.createTBody();
    for (const { uid, rois } of cells) {
      const row = body.insertRow();
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: uid.slice(0, 8), title: uid }));
      for (const [eid, fov, roi] of rois) {
        const link = Object.assign(document.createElement("a"), { href: `/sessions/${eid}/cells/${fov}/${roi}`, textContent: `FOV ${fov}, ROI ${roi}` });
        row.insertCell().append(link);
      }
    }
  }

  /** @param {number[]} now */
  function drawPairs(now) {
    const table = element("pairs", HTMLTableElement);
    table.replaceChildren();
    if (now.length < 2) return;
    const head = table.createTHead().insertRow();
    const title = (/** @type {HTMLTableRowElement} */ row, /** @type {string} */ text) => {
      const one = document.createElement("th");
      one.textContent = text;
      one.scope = row === head ? "col" : "row";
      row.append(one);
    };
    head.insertCell().textContent = "shared by two";
    for (const s of now) title(head, dates[s]);
    const body = table.createTBody();
    for (const a of now) {
      const row = body.insertRow();
      title(row, dates[a]);
      for (const b of now) {
        const cell = row.insertCell();
        cell.className = "n";
        cell.textContent = b >= a ? String(count([a, b])) : "";
      }
    }
  }

  form.addEventListener("change", draw);
  const check = (/** @type {boolean} */ all) => {
    for (const box of boxes) box.checked = all;
    draw();
  };
  element("all", HTMLElement).addEventListener("click", () => check(true));
  element("none", HTMLElement).addEventListener("click", () => check(false));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}
