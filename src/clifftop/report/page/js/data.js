// The page's data: every data set lies in the page once, by columns, and each chart gets rows of its own.

const page = JSON.parse(document.getElementById("page-data").textContent);

// A column of few distinct values is kept as { of: the values, at: the place of each row's value }.
function unpacked(column) {
  return Array.isArray(column) ? column : column.at.map((place) => column.of[place]);
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
