// Paper is white and has no scroll bar: before printing every chart is drawn, light, and the table is cut.

let themeOnScreen;

addEventListener("beforeprint", () => {
  themeOnScreen = root.dataset.theme;
  root.dataset.theme = "light";
  root.dataset.printing = "true";
  redraw(true);
  if (cells) cells.printed();
});

addEventListener("afterprint", () => {
  if (themeOnScreen) root.dataset.theme = themeOnScreen;
  else delete root.dataset.theme;
  delete root.dataset.printing;
  redraw(false);
  if (cells) cells.show();
});
