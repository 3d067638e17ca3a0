const all = document.getElementById("all-code");
all.addEventListener("change", () => {
  for (const cell of document.querySelectorAll("details.code")) cell.open = all.checked;
});
if (matchMedia("(max-width: 60rem)").matches) document.querySelector("details.contents").open = false;
