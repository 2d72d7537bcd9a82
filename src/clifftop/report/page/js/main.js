// Where everything starts.

const place = document.getElementById("cells-table");
const cells = place ? new Cells(place, page.table) : null;
const chosen = document.getElementById("chosen");

// The bar at the foot of the window that says which cell is picked.
function tellPicked() {
  const [first] = picked.cells;
  chosen.hidden = first === undefined || !cells;
  if (chosen.hidden) return;
  const words = chosen.querySelector("p");
  words.replaceChildren();
  const more = picked.cells.size > 1 ? [["", `and ${picked.cells.size - 1} more`]] : [];
  for (const [name, text] of [...cells.facts(first), ...more]) {
    const item = document.createElement("span");
    const label = document.createElement("i");
    label.textContent = name;
    const value = document.createElement("b");
    value.textContent = text;
    item.append(label, " ", value);
    words.append(item, " ");
  }
}

picked.listeners.push(tellPicked);
themeListeners.push(() => redraw(false));
themeChanged();
charts.values().next().value?.draw(); // the first one at once, even where a phone shows it only further down
for (const chart of charts.values()) onScreen.observe(chart.place);
document.querySelectorAll("table.sortable").forEach(makeSortable);
document.getElementById("unpick").addEventListener("click", () => pick([], null));

if (cells) {
  const box = document.getElementById("cells-filter");
  let waiting;
  box.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => cells.filter(box.value), 120);
  });
  document.getElementById("cells-save").addEventListener("click", () => save(page.table.file, csvOf(cells), "text/csv"));
  addEventListener("resize", () => cells.show());
}

for (const button of document.querySelectorAll("button.link")) {
  button.addEventListener("click", () => pick(button.dataset.cells.split(",").map(Number), null));
}

for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", () => copied(button, document.getElementById(button.dataset.of)));
}
