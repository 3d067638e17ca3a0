const data = JSON.parse(document.getElementById("data").textContent);
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const lesions = data.lesions.split("|"), said = data.said.split("|");
const images = data.images.split("|").map((rest, k) => {
  const answers = said[k].split(" ").map((text) => ({
    run: alphabet.indexOf(text[0]) * alphabet.length + alphabet.indexOf(text[1]),
    probabilities: [...text.slice(2).matchAll(/([a-z])(\d+)/g)].map(([, dx, share]) => [data.dx[dx.charCodeAt(0) - 97], +share]),
  }));
  const label = data.dx[data.labels.charCodeAt(k) - 97];
  return {
    image: data.prefix[0] + rest, lesion: data.prefix[1] + lesions[k], label, answers,
    right: answers.filter((each) => each.probabilities[0][0] === label).length,
  };
});

const place = document.getElementById("lookup");
place.innerHTML = `<form class="filters">
<label>image or lesion <input type="search" id="wanted" size="14"></label>
<label>run <select id="run"><option value="">every image, first run that tested it</option></select></label>
<label>label <select id="label"><option value="">any</option></select></label>
<label>answer <select id="answer"><option value="">any</option></select></label>
<label>which <select id="which"><option value="">all</option><option value="wrong">wrong answers</option>
<option value="right">right answers</option><option value="split">runs that disagree</option><option value="none">no run is right</option></select></label>
<button type="button" id="save">save as CSV</button></form>
<p id="count" role="status"></p>
<div class="scroll"><table><thead><tr></tr></thead><tbody></tbody></table></div>
<p><button type="button" id="more">show more</button></p>`;
const $ = (name) => document.getElementById(name);
const option = (text, value) => new Option(text, value);
data.runs.forEach((name, k) => $("run").append(option(name, k)));
for (const dx of data.dx) for (const name of ["label", "answer"]) $(name).append(option(dx, dx));
$("run").value = "0";
if (location.hash.length > 1) { $("wanted").value = decodeURIComponent(location.hash.slice(1)); $("run").value = ""; }

const columns = [
  ["image", (row) => row.image], ["label", (row) => row.label], ["answer", (row) => row.answer],
  ["% for the label", (row) => row.share], ["probabilities, %", (row) => row.confidence],
  ["runs that are right", (row) => row.right / row.answers.length], ["lesion", (row) => row.lesion],
];
let column = 0, way = 1, rows = [], shown = 50;
const words = (answer) => answer.probabilities.map(([dx, share]) => `${dx} ${share}`).join(", ");

columns.forEach(([name], k) => {
  const head = document.createElement("th"), button = document.createElement("button");
  head.scope = "col";
  if (k !== 3) head.className = "text";
  button.textContent = name;
  button.addEventListener("click", () => { way = column === k ? -way : 1; column = k; show(); });
  head.append(button);
  place.querySelector("thead tr").append(head);
});

function select() {
  const run = $("run").value, wanted = $("wanted").value.trim().toLowerCase();
  rows = [];
  for (const each of images) {
    const answer = run === "" ? each.answers[0] : each.answers.find((other) => other.run === +run);
    if (!answer || !(each.image + " " + each.lesion).toLowerCase().includes(wanted)) continue;
    const [first, confidence] = answer.probabilities[0];
    const right = first === each.label;
    if ($("label").value && each.label !== $("label").value) continue;
    if ($("answer").value && first !== $("answer").value) continue;
    const which = $("which").value;
    if ((which === "wrong" && right) || (which === "right" && !right) || (which === "none" && each.right)) continue;
    if (which === "split" && (each.right === 0 || each.right === each.answers.length)) continue;
    const share = (answer.probabilities.find(([dx]) => dx === each.label) ?? ["", 0])[1];
    rows.push({ ...each, answer: first, confidence, share, chosen: answer, isRight: right });
  }
  shown = 50;
  show();
}

function show() {
  const value = columns[column][1];
  rows.sort((a, b) => order(value(a), value(b), way));
  [...place.querySelectorAll("thead th")].forEach((head, k) =>
    k === column ? head.setAttribute("aria-sort", way === 1 ? "ascending" : "descending") : head.removeAttribute("aria-sort"));
  const body = place.querySelector("tbody");
  body.replaceChildren(...rows.slice(0, shown).map(line));
  const right = rows.filter((row) => row.isRight).length;
  $("count").textContent = `${rows.length.toLocaleString("en")} images, ${rows.length ? ((100 * right) / rows.length).toFixed(1) : 0}% of the answers are right.`;
  $("more").hidden = rows.length <= shown;
  stops();
}

function line(row) {
  const made = document.createElement("tr");
  const head = document.createElement("th"), button = document.createElement("button");
  head.scope = "row";
  button.textContent = row.image;
  button.setAttribute("aria-expanded", "false");
  button.className = "open";
  head.append(button);
  const cells = [row.label, row.isRight ? row.answer : `${row.answer} ✗`, row.share, words(row.chosen),
    `${row.right} of ${row.answers.length}`, row.lesion].map((text) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (typeof text === "string") cell.className = "text";
    return cell;
  });
  made.append(head, ...cells);
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) return made.nextSibling.remove();
    const more = document.createElement("tr"), cell = document.createElement("td"), list = document.createElement("ul");
    cell.colSpan = columns.length;
    cell.className = "text";
    for (const each of row.answers) {
      const item = document.createElement("li");
      item.textContent = `${data.runs[each.run]}: ${words(each)}`;
      list.append(item);
    }
    cell.append(list);
    more.append(cell);
    made.after(more);
  });
  return made;
}

place.querySelector("form").addEventListener("input", select);
place.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
$("more").addEventListener("click", () => { shown += 200; show(); });
$("save").addEventListener("click", () => download("test_images.csv", [
  ["image_id", "lesion_id", "label", "answer", "percent_for_the_label", "run", "runs_right", "runs"],
  ...rows.map((row) => [row.image, row.lesion, row.label, row.answer, row.share, data.runs[row.chosen.run], row.right, row.answers.length].map(String)),
]));
select();
