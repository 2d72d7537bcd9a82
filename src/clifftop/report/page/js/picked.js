// Which cells are picked: one truth for all charts and the table. Whoever changes it names itself.

const picked = { cells: new Set(), listeners: [] };

function pick(cells, source) {
  const wanted = new Set(cells);
  const same = wanted.size === picked.cells.size && [...wanted].every((cell) => picked.cells.has(cell));
  if (same) return;
  picked.cells = wanted;
  for (const tell of picked.listeners) tell(source);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") pick([], null);
});
