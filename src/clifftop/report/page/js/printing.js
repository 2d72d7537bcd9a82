// Paper is white, cannot be scrolled and opens nothing: before printing every chart is drawn, light, what is
// folded is unfolded, and the table is cut. Afterwards all is as it was.

let themeOnScreen;
let unfolded = [];

addEventListener("beforeprint", () => {
  themeOnScreen = root.dataset.theme;
  root.dataset.theme = "light";
  unfolded = [...document.querySelectorAll("details:not([open])")];
  for (const details of unfolded) details.open = true;
  redraw(true);
  if (cells) cells.printed();
});

addEventListener("afterprint", () => {
  if (themeOnScreen) root.dataset.theme = themeOnScreen;
  else delete root.dataset.theme;
  for (const details of unfolded) details.open = false;
  redraw(false);
  if (cells) cells.show();
});
