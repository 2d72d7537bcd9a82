// Small static tables sort by the number that a cell carries, or by its text; empty cells come last.

function valueIn(cell) {
  const raw = cell.dataset.value;
  if (raw === undefined) return cell.textContent.trim();
  if (raw === "") return null;
  return raw === "inf" ? Infinity : Number(raw);
}

function makeSortable(table) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    header.querySelector("button")?.addEventListener("click", () => {
      const rising = header.getAttribute("aria-sort") !== "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [row, valueIn(row.cells[column])]);
      rows.sort((a, b) => ordered(a[1], b[1], rising ? 1 : -1));
      table.tBodies[0].append(...rows.map(([row]) => row));
    });
  });
}
