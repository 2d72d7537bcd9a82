// What can be taken from the page: the table as CSV, the citations as BibTeX. Nothing leaves the machine.

// A spreadsheet takes text that begins with one of these for a formula.
const FORMULA = /^[=+\-@\t\r]/;

function csvField(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const safe = FORMULA.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

// The rows that the filter leaves, in the order shown, with unrounded names of columns and plain numbers.
function csvOf(table) {
  const lines = [["cell", ...table.columns.map((column) => column.name)].map(csvField).join(",")];
  for (const row of table.shown) {
    lines.push([table.ids[row], ...table.columns.map((column) => column.values[row])].map(csvField).join(","));
  }
  return `${lines.join("\n")}\n`;
}

function save(name, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.setAttribute("href", address);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// A page on disk may not be allowed to write to the clipboard; selecting the text always works.
async function copied(button, element) {
  getSelection().selectAllChildren(element);
  try {
    await navigator.clipboard.writeText(element.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: press Ctrl+C";
  }
}
