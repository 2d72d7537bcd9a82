// The filter of the table: words to find, and conditions such as `lr=0.1` or `epsilon<8`; all must hold.

const CONDITION = /^([^<>=]+)(<=|>=|<|>|=)(.+)$/;
const compared = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => a === b,
};

function numberIn(column, text) {
  const value = Number(text.replace("%", ""));
  return column.kind === "percent" ? value / 100 : value;
}

function condition(columns, name, sign, text) {
  const column = columns.find((one) => one.name.toLowerCase() === name || one.title.toLowerCase() === name);
  if (!column) return null;
  const number = numberIn(column, text);
  if (Number.isNaN(number)) return (row) => sign === "=" && textOf(column.kind, column.values[row]).toLowerCase() === text;
  return (row) => {
    const value = column.values[row];
    if (value === null) return false;
    if (typeof value === "boolean") return false;
    const near = sign === "=" && Math.abs(value - number) <= 1e-9 * Math.max(1, Math.abs(number));
    return near || compared[sign](value, number);
  };
}

// From what was typed to a test of a row's number.
function rowTest(columns, typed) {
  const tests = typed
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .map((term) => {
      const found = CONDITION.exec(term);
      const holds = found && condition(columns, found[1], found[2], found[3]);
      return holds || ((row) => columns.some((column) => textOf(column.kind, column.values[row]).toLowerCase().includes(term)));
    });
  return (row) => tests.every((holds) => holds(row));
}
