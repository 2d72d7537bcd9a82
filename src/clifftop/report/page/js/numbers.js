// Numbers as the rest of Clifftop writes them. Epsilons were rounded up when the page was built.

const MINUS = "\u2212";
const MISSING = "\u2013";

const grouped = (value, digits) => value.toLocaleString("en-US", { maximumSignificantDigits: digits });
const signed = (text) => (Number(text) === 0 ? text.replace("-", "") : text.replace("-", MINUS));

// A setting as one would type it.
function plain(value) {
  if (value === 0 || (Math.abs(value) >= 1e-4 && Math.abs(value) < 1e7)) return String(Number(value.toPrecision(6)));
  const [mantissa, exponent] = value.toExponential(5).split("e");
  return `${Number(mantissa)}e${Number(exponent)}`;
}

const written = {
  text: (value) => String(value),
  setting: (value) => (typeof value === "number" ? plain(value) : String(value)),
  epsilon: (value) => grouped(value, 6),
  claimed: (value) => (value >= 0.01 ? value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }) : plain(value)),
  percent: (value) => signed((100 * value).toFixed(1)),
  number: (value) => signed(value.toPrecision(4)),
  count: (value) => grouped(value, 15),
  flag: (value) => (value ? "yes" : ""),
};

function textOf(kind, value) {
  return value === null || value === undefined ? MISSING : written[kind](value);
}
