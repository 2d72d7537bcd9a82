"use strict";

const specs = JSON.parse(document.getElementById("specs").textContent);
for (const [id, spec] of Object.entries(specs)) {
  const place = document.getElementById(id);
  vegaEmbed(place, spec, { actions: false, renderer: "svg", tooltip: { theme: "clifftop" } }).catch((error) => {
    place.textContent = "This chart could not be drawn: " + error.message;
    console.error(error);
  });
}

// Sort by the number a cell carries, or by its text where no cell of the column carries one; empty cells last.
function sortBy(table, column, ascending) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => {
    const raw = row.cells[column].dataset.value;
    const lowered = raw === "inf" ? Infinity : raw === "-inf" ? -Infinity : raw === "" ? NaN : Number(raw);
    return { row, number: lowered };
  });
  const sign = ascending ? 1 : -1;
  rows.sort((a, b) => {
    if (Number.isNaN(a.number) || Number.isNaN(b.number)) return Number.isNaN(a.number) - Number.isNaN(b.number);
    return a.number === b.number ? 0 : sign * (a.number < b.number ? -1 : 1);
  });
  body.append(...rows.map((item) => item.row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = Array.from(table.tHead.rows[0].cells);
  headers.forEach((header, column) => {
    header.querySelector("button").addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortBy(table, column, ascending);
    });
  });
}
