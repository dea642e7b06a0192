// Predictions: votes as bars, proposed redshifts as chips, redrock's fits, entropy, map cell.

import { byId, el, formatZ } from "./api.js";

export function hidePredictions(closed) {
  const button = closed
    ? el("p", { class: "hint" }, "shown after your first verdict")
    : el("button", { type: "button", "data-action": "machine" }, "show ", el("kbd", {}, "m"));
  byId("machine").replaceChildren(button);
}

/**
 * Show predictions; `take(chip)` is called for a chip. `names` are those of lines and votes. Returns
 * the chips ({z, spectype}), for the chip key.
 */
export function showPredictions(predictions, take, names) {
  const parts = [];
  if (predictions.votes) parts.push(voteBars(predictions.votes, names.votes));
  const proposals = (predictions.proposals ?? []).map((chip) => ({ ...chip, from: "networks" }));
  const fits = (predictions.redrock ?? []).map((fit) => ({
    ...fit, from: "redrock", subtype: fit.template ? `redrock ${fit.subtype}`.trim() : undefined,
  }));
  const chips = [...proposals, ...fits];
  if (chips.length) parts.push(el("div", { class: "chips" }, ...chips.map((chip) => chipButton(chip, take))));
  if (predictions.confidences) parts.push(confidences(predictions.confidences, names.lines));
  const facts = [];
  const number = (value) => (typeof value === "number" ? value.toPrecision(3) : value);
  if (predictions.entropy !== undefined) facts.push(["entropy", `${number(predictions.entropy)} bits`]);
  if (predictions.score !== undefined && predictions.score !== predictions.entropy) facts.push(["score", number(predictions.score)]);
  if (predictions.cell !== undefined) facts.push(["map cell", [predictions.cell].flat().join(", ")]);
  if (facts.length) {
    parts.push(el("dl", { class: "facts" }, ...facts.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, String(v))])));
  }
  if (predictions.map) parts.push(neighbourhood(predictions.map));
  if (parts.length === 0) parts.push(el("p", { class: "hint" }, "nothing is known of this object"));
  byId("machine").replaceChildren(...parts);
  return chips;
}

function voteBars(votes, names) {
  const total = Object.values(votes).reduce((sum, n) => sum + n, 0) || 1;
  const rows = Object.entries(names).flatMap(([name, label]) => {
    const count = votes[name] ?? 0;
    const bar = el("span", { class: "bar-fill", style: `width:${(100 * count) / total}%` });
    return [el("dt", {}, label), el("dd", {}, el("span", { class: "bar-track" }, bar), ` ${count}`)];
  });
  return el("dl", { class: "votes", "aria-label": "Votes of the ensemble" }, ...rows);
}

function chipButton(chip, take) {
  const source = chip.from === "redrock"
    ? `redrock ${chip.spectype}${chip.zwarn ? ` ZWARN ${chip.zwarn}` : ""}, Δχ² ${Math.round(chip.deltachi2)}`
    : [chip.name, chip.count !== undefined ? `${chip.count} votes` : ""].filter(Boolean).join(", ");
  const title = chip.problem || source || "proposed redshift";
  const button = el("button", { type: "button", class: `chip ${chip.from}`, title },
    `z ${formatZ(chip.z)}`, source ? el("small", {}, source) : null);
  button.addEventListener("click", () => {
    take(chip);
    button.blur();
  });
  return button;
}

function confidences(values, names) {
  const known = Object.entries(values).filter(([, value]) => value >= 0.05);
  if (!known.length) return null;
  const text = known.map(([line, value]) => `${names[line] ?? line} ${value.toFixed(2)}`).join(" · ");
  return el("p", { class: "hint" }, `lines: ${text}`);
}

/** A few map cells around the object's own, darker where more spectra lie. */
function neighbourhood(map) {
  const rows = map.counts;
  if (!Array.isArray(rows) || !Array.isArray(rows[0])) return null;
  const most = Math.max(1, ...rows.flat());
  const middle = [rows.length >> 1, rows[0].length >> 1];
  const cells = rows.flatMap((row, i) => row.map((count, j) => {
    const own = i === middle[0] && j === middle[1];
    const share = Math.sqrt(count / most);
    return el("span", { class: own ? "cell own" : "cell", style: `--share:${share}`, title: `${count} spectra` }, String(count));
  }));
  return el("div", { class: "map", style: `grid-template-columns:repeat(${rows[0].length},1fr)`,
    role: "img", "aria-label": `map cell with ${rows[middle[0]][middle[1]]} spectra, and its neighbours` }, ...cells);
}
