// A set of sessions has its own settings and sessions: choosing one reloads the page. The address keeps the choice.
import { element } from "./dom.js";

const form = element("choice", HTMLFormElement);

form.addEventListener("change", (event) => {
  if (!(event.target instanceof HTMLInputElement) || event.target.name !== "set") return;
  /** @type {NodeListOf<HTMLInputElement>} */
  const boxes = form.querySelectorAll("input[name=params], input[name=eid]");
  for (const box of boxes) box.checked = false;
  // nothing was ticked in the new set: it shows its default
  for (const one of form.querySelectorAll(/** @type {"input"} */ ("input[name=ticked]"))) one.disabled = true;
  form.requestSubmit();
});

// the template leaves it out while nothing is ticked
document.getElementById("copy")?.addEventListener("click", async () => {
  const code = element("code", HTMLElement), said = element("copied", HTMLElement);
  try {
    await navigator.clipboard.writeText(code.textContent ?? "");
    said.textContent = "Copied.";
  } catch {
    getSelection()?.selectAllChildren(code);
    said.textContent = "Selected: copy it with the keyboard.";
  }
});
