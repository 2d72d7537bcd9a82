// Light or dark: the system's choice, until the reader makes one. Charts are told, since a canvas knows no CSS.

const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const themeListeners = [];

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
}

// A page that was opened from disk may have no storage; then the choice lasts until it is closed.
function remembered(value) {
  try {
    if (value === undefined) return localStorage.getItem("clifftop-theme");
    localStorage.setItem("clifftop-theme", value);
  } catch {
    return null;
  }
  return value;
}

function themeChanged() {
  const button = document.getElementById("theme");
  button.setAttribute("aria-pressed", String(isDark()));
  button.textContent = isDark() ? "Light" : "Dark";
  for (const tell of themeListeners) tell();
}

function chooseTheme(theme) {
  root.dataset.theme = theme;
  remembered(theme);
  themeChanged();
}

const kept = remembered();
if (kept === "dark" || kept === "light") root.dataset.theme = kept;
systemDark.addEventListener("change", () => {
  if (!root.dataset.theme) themeChanged();
});
document.getElementById("theme").addEventListener("click", () => chooseTheme(isDark() ? "light" : "dark"));
