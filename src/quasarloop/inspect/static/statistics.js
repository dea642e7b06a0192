// How far the campaign is, and how well its inspectors agree: the tables beside the figure.

import { byId, el, get, tableRow } from "./api.js";

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

const signed = (value, digits) => (value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`);

/** A small line of shares from 0.5 to 1; what is below is drawn at the bottom. */
function line(shares, name) {
  if (!shares.length) return "–";
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const x = (i) => 4 + (92 * i) / (shares.length - 1);
  const y = (share) => 22 - 20 * Math.max(0, 2 * share - 1);
  const shape = (tag, attributes) => {
    const node = document.createElementNS(svg.namespaceURI, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    svg.append(node);
  };
  svg.setAttribute("class", "trend");
  svg.setAttribute("viewBox", "0 0 100 24");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `agreement of ${name}: ${shares.map((share) => `${percent(share)} %`).join(", ")}`);
  shape("polyline", { points: shares.map((share, i) => `${x(i)},${y(share)}`).join(" ") });
  shares.forEach((share, i) => shape("circle", { cx: x(i), cy: y(share), r: 1.8 }));
  return svg;
}

byId("people").append(...found.people.map((one) => {
  const drift = one.drift === null ? "–" : `${signed(100 * one.drift, 1)} ± ${(100 * one.drift_error).toFixed(1)}`;
  const pace = (name) => (name in one.seconds ? one.seconds[name].toFixed(0) : "–");
  const cells = [one.n_compared, percent(one.agreement), line(one.lots, one.inspector), drift,
    `${signed(one.quality_first, 2)}, ${signed(one.quality_second, 2)}`, pace("all"),
    ...found.classes.map((name) => pace(name.toLowerCase()))];
  const row = tableRow(cells, { class: one.drift !== null && Math.abs(one.drift) > 3 * one.drift_error ? "differs" : null });
  row.prepend(el("th", { scope: "row" }, one.inspector));
  return row;
}));
byId("people-head").append(...found.classes.map((name) => el("th", { scope: "col" }, `${name} / s`)));
document.body.dataset.ready = "true";
