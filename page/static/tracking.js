// Pick sessions, and see how many cells they share.
import { css, page } from "./colors.js";

const source = document.getElementById("data");
if (source) start(JSON.parse(source.textContent));

function start({ patterns, dates, eids, subject, run }) {
  const form = document.getElementById("choice");
  const boxes = [...form.querySelectorAll("input[name=session]")];
  const canvas = document.getElementById("presence");
  const sets = patterns.map((pattern) => new Set(pattern.sessions));
  const total = patterns.reduce((n, pattern) => n + pattern.n, 0);
  const count = (sessions) => patterns.reduce((n, pattern, i) => n + (sessions.every((s) => sets[i].has(s)) ? pattern.n : 0), 0);
  const asked = new URLSearchParams(location.search).getAll("session");
  if (asked.length) boxes.forEach((box) => { box.checked = asked.includes(box.value); });

  function chosen() {
    return boxes.map((box, i) => (box.checked ? i : -1)).filter((i) => i >= 0);
  }

  function draw() {
    const now = chosen();
    document.getElementById("shared").textContent = now.length
      ? `${count(now)} of ${total} cells were found in all ${now.length} chosen session${now.length === 1 ? "" : "s"}`
      : `${total} cells; choose sessions`;
    form.querySelectorAll("[data-count]").forEach((one) => {
      const s = Number(one.dataset.count);
      const others = now.filter((i) => i !== s);
      one.textContent = boxes[s].checked
        ? `${count([s])} cells; without it ${others.length ? count(others) : 0} shared`
        : `${count([s])} cells; with it ${count([...now, s])} shared`;
    });
    drawPresence(now);
    drawPairs(now);
    const address = new URL(location);
    address.searchParams.delete("session");
    if (now.length < boxes.length) now.forEach((i) => address.searchParams.append("session", eids[i]));
    history.replaceState(null, "", address);
    const link = (path, name, text) => {
      const one = document.createElement("a");
      one.href = `${path}${now.map((i) => `&${name}=${eids[i]}`).join("")}`;
      one.textContent = text;
      return one;
    };
    const of = `subject=${encodeURIComponent(subject)}`;
    document.getElementById("link").replaceChildren(
      link(`/ndc?${of}`, "eid", "Neuron-dropping curves of these sessions"),
      ...(now.length ? [" · ", link(`/tracking.csv?${of}&run=${run}`, "session", "these cells as CSV")] : []),
    );
  }

  function drawPresence(now) {
    const ratio = devicePixelRatio, color = page();
    const across = Math.min(34, 560 / dates.length), tall = 320;
    canvas.width = (across * dates.length + 70) * ratio;
    canvas.height = tall * ratio;
    canvas.style.width = `${across * dates.length + 70}px`;
    canvas.style.height = `${tall}px`;
    const context = canvas.getContext("2d");
    let y = 0;
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
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.fillText(`${total} cells`, (across * dates.length + 4) * ratio, 12 * ratio);
  }

  function drawPairs(now) {
    const table = document.getElementById("pairs");
    table.replaceChildren();
    if (now.length < 2) return;
    const head = table.createTHead().insertRow();
    const cell = (row, text, name = "td") => {
      const one = document.createElement(name);
      one.textContent = text;
      if (name === "th") one.scope = row === head ? "col" : "row";
      else one.className = "n";
      row.append(one);
    };
    cell(head, "shared by two");
    head.firstChild.className = "";
    now.forEach((s) => cell(head, dates[s], "th"));
    const body = table.createTBody();
    now.forEach((a) => {
      const row = body.insertRow();
      cell(row, dates[a], "th");
      now.forEach((b) => cell(row, b >= a ? String(count([a, b])) : ""));
    });
  }

  form.addEventListener("change", draw);
  document.getElementById("all").addEventListener("click", () => { boxes.forEach((box) => { box.checked = true; }); draw(); });
  document.getElementById("none").addEventListener("click", () => { boxes.forEach((box) => { box.checked = false; }); draw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
}
