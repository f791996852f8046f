// A set of sessions has its own settings and sessions: choosing one reloads the page. The address keeps the choice.
import { element } from "./dom.js";

const form = element("choice", HTMLFormElement);
const code = element("code", HTMLElement);

form.addEventListener("change", (event) => {
  if (!(event.target instanceof HTMLInputElement) || event.target.name !== "set") return;
  /** @type {NodeListOf<HTMLInputElement>} */
  const boxes = form.querySelectorAll("input[name=params], input[name=eid]");
  for (const box of boxes) box.checked = false;
  form.requestSubmit();
});

element("copy", HTMLElement).addEventListener("click", async () => {
  const said = element("copied", HTMLElement);
  try {
    await navigator.clipboard.writeText(code.textContent ?? "");
    said.textContent = "Copied.";
  } catch {
    getSelection()?.selectAllChildren(code);
    said.textContent = "Selected: copy it with the keyboard.";
  }
});
