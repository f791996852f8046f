// The first page, live: its changing part is fetched again while somebody looks at it.
import { element } from "./dom.js";

const EVERY = 3000; // ms
const live = element("live", HTMLElement);
const state = element("state", HTMLElement);

async function renew() {
  if (document.hidden || live.contains(document.activeElement)) return; // nobody looks, or somebody is reading an error
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
  const open = [...live.querySelectorAll("details")].map((one, i) => (one.open ? one.id || i : null));
  const scrolled = [...live.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  live.innerHTML = text; // our own template, in which everything is escaped
  live.querySelectorAll("details").forEach((one, i) => { one.open = open.includes(one.id || i); });
  live.querySelectorAll(".scroll").forEach((one, i) => { one.scrollLeft = scrolled[i] || 0; });
}

setInterval(renew, EVERY);
state.textContent = "Live.";
