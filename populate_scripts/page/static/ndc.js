// Choosing shows at once, without a click on the button; the address holds the choice.
const form = document.getElementById("choice");

form.addEventListener("change", (event) => {
  if (event.target.name === "set") {
    // settings and sessions are those of another set
    form.querySelectorAll("input[name=params], input[name=eid]").forEach((box) => { box.checked = false; });
  }
  const all = [...form.querySelectorAll("input[name=eid]")];
  if (all.every((box) => box.checked)) all.forEach((box) => { box.disabled = true; }); // a shorter address
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
