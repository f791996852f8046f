// Refreshes the changing part of the first page while the page is visible, and says of when it is.
import { element } from "./dom.js";

const REFRESH_MS = 3000;
const PATIENCE_MS = 10_000; // after this time the server does not answer
const live = element("live", HTMLElement);
const state = element("state", HTMLElement);
let at = new Date(); // of what is shown
let isAsking = false;

const clock = () => at.toLocaleTimeString("en-GB");

async function refresh() {
  if (document.hidden || isAsking) return;
  if (live.contains(document.activeElement)) { // it is being read: new content would take the focus away
    state.textContent = `Paused at ${clock()}: something in the list has the focus.`;
    return;
  }
  let text;
  isAsking = true;
  try {
    const answer = await fetch(live.dataset.from ?? "", { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!answer.ok) throw new Error(await answer.text());
    text = await answer.text();
  } catch {
    state.textContent = `Not live: no answer since ${clock()}.`;
    return;
  } finally {
    isAsking = false;
  }
  if (live.contains(document.activeElement)) return; // it has got the focus meanwhile
  at = new Date();
  state.textContent = `Live, as of ${clock()}.`;
  // keep open what is open, and the scroll positions
  const open = [...live.querySelectorAll("details")].map((one, i) => (one.open ? one.id || i : null));
  const scrolled = [...live.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  live.innerHTML = text; // safe: rendered by our template, which escapes all values
  live.querySelectorAll("details").forEach((one, i) => { one.open = open.includes(one.id || i); });
  live.querySelectorAll(".scroll").forEach((one, i) => { one.scrollLeft = scrolled[i] || 0; });
  sayMore();
}

// Say that the graph goes on, where the window does not show all of it.
function sayMore() {
  const graph = live.querySelector(".scroll"), note = live.querySelector(".more");
  if (graph && note instanceof HTMLElement) note.hidden = graph.scrollWidth <= graph.clientWidth;
}

new ResizeObserver(sayMore).observe(live);
setInterval(refresh, REFRESH_MS);
live.addEventListener("focusin", refresh); // says at once that it is paused
live.addEventListener("focusout", () => setTimeout(refresh));
document.addEventListener("visibilitychange", refresh);
state.textContent = `Live, as of ${clock()}.`;
