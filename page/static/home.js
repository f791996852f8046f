// Refreshes the changing part of the first page while the page is visible.
import { element } from "./dom.js";

const REFRESH_MS = 3000;
const live = element("live", HTMLElement);
const state = element("state", HTMLElement);

async function refresh() {
  if (document.hidden || live.contains(document.activeElement)) return; // not visible, or an error in it is being read
  let text;
  try {
    const answer = await fetch(live.dataset.from ?? "");
    if (!answer.ok) throw new Error(await answer.text());
    text = await answer.text();
    state.textContent = "Live.";
  } catch {
    state.textContent = "Not live: the server does not answer.";
    return;
  }
  // keep open what is open, and the scroll positions
  const open = [...live.querySelectorAll("details")].map((one, i) => (one.open ? one.id || i : null));
  const scrolled = [...live.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  live.innerHTML = text; // safe: rendered by our template, which escapes all values
  live.querySelectorAll("details").forEach((one, i) => { one.open = open.includes(one.id || i); });
  live.querySelectorAll(".scroll").forEach((one, i) => { one.scrollLeft = scrolled[i] || 0; });
}

setInterval(refresh, REFRESH_MS);
state.textContent = "Live.";
