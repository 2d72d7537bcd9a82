// One tooltip for all charts. Text only: names in a sweep are whatever its author wrote.

const tip = document.getElementById("tip");

function tipRows(value) {
  if (typeof value !== "object" || value === null) return [["", String(value)]];
  return Object.entries(value).filter(([, text]) => text !== null && text !== undefined && text !== "null" && text !== "");
}

function fillTip(value) {
  tip.replaceChildren(
    ...tipRows(value).map(([name, text]) => {
      const row = document.createElement("div");
      const key = document.createElement("span");
      key.textContent = name;
      const words = document.createElement("b");
      words.textContent = String(text);
      row.append(key, words);
      return row;
    }),
  );
}

// Beside the pointer, and never past the edge of the window.
function placeTip(event) {
  const room = 14;
  const box = tip.getBoundingClientRect();
  const right = event.clientX + room + box.width > innerWidth ? event.clientX - room - box.width : event.clientX + room;
  const below = event.clientY + room + box.height > innerHeight ? event.clientY - room - box.height : event.clientY + room;
  tip.style.left = `${Math.max(4, right)}px`;
  tip.style.top = `${Math.max(4, below)}px`;
}

function showTip(_handler, event, _item, value) {
  if (value === null || value === undefined || value === "") {
    tip.hidden = true;
    return;
  }
  fillTip(value);
  tip.hidden = false;
  placeTip(event);
}

addEventListener("scroll", () => (tip.hidden = true), { passive: true });
