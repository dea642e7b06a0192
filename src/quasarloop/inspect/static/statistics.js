// How far the campaign is, and how well its inspectors agree: the tables beside the figure.

import { byId, el, get } from "./api.js";

const percent = (share) => (share === null ? "–" : (100 * share).toFixed(1));
const number = (value, digits = 2) => (value === null ? "–" : value.toFixed(digits));

const found = await get("/api/statistics");
const numbers = [
  ["to decide", found.counts.conflict],
  ["agreed", found.counts.merged],
  ["decided", found.counts.decided],
  ["still open", found.counts.open],
  ["objects compared", found.n_objects],
  ["α of the class", number(found.alpha_class)],
  ["α of the quality", number(found.alpha_quality)],
  ["redshift scatter", found.z_scatter_kms === null ? "–" : `${number(found.z_scatter_kms, 0)} km/s`],
  ["redshifts apart", found.z_outliers === null ? "–" : `${percent(found.z_outliers)} %`],
];
byId("numbers").append(...numbers.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
byId("control").textContent = found.control;
byId("compared").hidden = found.n_objects === 0;
byId("none").hidden = found.n_objects > 0;
byId("pairs").append(...found.pairs.map((pair) => {
  const cells = [pair.n_common, number(pair.alpha_class), number(pair.alpha_quality), percent(pair.same_class), number(pair.quality_difference),
    number(pair.z_scatter_kms, 0), percent(pair.z_outliers)];
  return el("tr", {}, el("th", { scope: "row" }, `${pair.first} – ${pair.second}`), ...cells.map((cell) => el("td", {}, String(cell))));
}));
byId("confusion-head").append(el("tr", {}, el("td", {}), ...found.classes.map((name) => el("th", { scope: "col" }, name))));
byId("confusion").append(...found.confusion.map((row, i) =>
  el("tr", {}, el("th", { scope: "row" }, found.classes[i]), ...row.map((count) => el("td", {}, String(count))))));
document.body.dataset.ready = "true";
