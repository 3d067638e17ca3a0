const all = document.getElementById("all-code");
all?.addEventListener("change", () => {
  for (const cell of document.querySelectorAll("details.code")) cell.open = all.checked;
});
if (matchMedia("(max-width: 60rem)").matches)
  for (const fold of document.querySelectorAll("details.contents, details.words")) fold.open = false;

// What scrolls can be reached by keyboard, and what does not is no stop.
function stops() {
  for (const box of document.querySelectorAll(".scroll, pre, figure.picture"))
    if (box.scrollWidth > box.clientWidth + 1) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
}
stops();
addEventListener("resize", stops);
for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", stops);

// The number a cell begins with, or its words; what is missing comes last.
function key(cell) {
  const text = cell.textContent.trim();
  const number = parseFloat(text.replace("−", "-").replace(/(\d),(?=\d{3})/g, "$1"));
  return text === "–" || text === "" ? null : Number.isNaN(number) ? text : number;
}

function order(a, b, way) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a === typeof b) return way * (typeof a === "number" ? a - b : a.localeCompare(b));
  return typeof a === "number" ? -1 : 1;
}

function sort(table, head, column) {
  const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => order(key(a.cells[column]), key(b.cells[column]), way));
  table.tBodies[0].append(...rows);
}

function download(name, rows) {
  const text = rows.map((row) => row.map((cell) => (/[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text.join("\n") + "\n"], { type: "text/csv" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const figure of document.querySelectorAll("figure.table")) {
  const table = figure.querySelector("table");
  if (!table.tHead || !table.tBodies.length) continue;
  const rows = [...table.tBodies[0].rows];
  const name = figure.querySelector("figcaption > a").textContent;
  const tools = document.createElement("span");
  tools.className = "tools";
  if (rows.length > 2)
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.tagName !== "TH") return;
      const button = document.createElement("button");
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
  if (rows.length > 9) {
    const search = document.createElement("input");
    search.type = "search";
    search.placeholder = "search";
    search.setAttribute("aria-label", `Search ${name}`);
    search.addEventListener("input", () => {
      const wanted = search.value.toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    tools.append(search);
  }
  const save = document.createElement("button");
  save.textContent = "as CSV";
  save.setAttribute("aria-label", `Save ${name} as CSV`);
  save.addEventListener("click", () => {
    const shown = [table.tHead.rows[0], ...[...table.tBodies[0].rows].filter((row) => !row.hidden)];
    const title = document.title.replace(/[^\w]+/g, "_").toLowerCase();
    download(`${title}_${name.replace(" ", "_").toLowerCase()}.csv`, shown.map((row) => [...row.cells].map((cell) => cell.textContent.trim())));
  });
  tools.append(save);
  figure.querySelector("figcaption").append(tools);
}
stops();
