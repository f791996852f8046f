// Another set has settings and sessions of its own: it shows at once. The address holds the choice.
const form = document.getElementById("choice");

form.addEventListener("change", (event) => {
  if (event.target.name !== "set") return;
  form.querySelectorAll("input[name=params], input[name=eid]").forEach((box) => { box.checked = false; });
  form.requestSubmit();
});

document.getElementById("copy").addEventListener("click", async () => {
  const said = document.getElementById("copied");
  try {
    await navigator.clipboard.writeText(document.getElementById("code").textContent);
    said.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(document.getElementById("code"));
    said.textContent = "Marked: copy it with the keyboard.";
  }
});
