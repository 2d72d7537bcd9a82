// The page's data: every data set lies in the page once, by columns, and each chart gets rows of its own.

const page = JSON.parse(document.getElementById("page-data").textContent);

const LETTERS = new Map([..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"].map((letter, place) => [letter, place]));

// A column of few distinct values is kept as `of`, these values, and `at`, a letter a row (two where there are
// more than 64) that says which of them it has.
function unpacked(column) {
  if (Array.isArray(column)) return column;
  const { of, at } = column;
  if (of.length <= LETTERS.size) return Array.from(at, (letter) => of[LETTERS.get(letter)]);
  return Array.from({ length: at.length / 2 }, (_, row) => of[LETTERS.get(at[2 * row]) * LETTERS.size + LETTERS.get(at[2 * row + 1])]);
}

const dataSets = new Map(
  Object.entries(page.sets).map(([name, columns]) => [
    name,
    Object.fromEntries(Object.entries(columns).map(([key, column]) => [key, unpacked(column)])),
  ]),
);

function sizeOf(name) {
  const columns = Object.values(dataSets.get(name) ?? {});
  return columns.length ? columns[0].length : 0;
}

// Fresh objects at every call: Vega writes into the rows it is given, so no two views may share them.
function rowsOf(name) {
  const columns = Object.entries(dataSets.get(name));
  return Array.from({ length: sizeOf(name) }, (_, row) => {
    const made = {};
    for (const [key, values] of columns) made[key] = values[row];
    return made;
  });
}
