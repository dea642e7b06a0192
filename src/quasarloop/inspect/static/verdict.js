// The verdict being given: what an action makes of it, and how the page shows it.

import { byId, formatZ } from "./api.js";

/** Fields, values and limits, as the server defines them. */
export const DEFINITION = JSON.parse(byId("definition").textContent);
export const BLANK = DEFINITION.blank;
const STAR_Z = 0.01; // a star's redshift is smaller than this

/** Return the verdict after an action at a trial redshift; null if the action is none of ours. */
export function changed(verdict, action, trialZ) {
  const [kind, value] = action.split(/-(.*)/);
  if (kind === "class") {
    const z = value === "STAR" && Math.abs(trialZ) > STAR_Z ? 0 : round(trialZ);
    return { ...verdict, spectype: value, z, is_bal: value === "QSO" ? verdict.is_bal : null };
  }
  if (action === "take") return { ...verdict, z: round(trialZ) };
  if (action === "bal") {
    if (verdict.spectype !== "QSO") return verdict;
    const next = new Map([[null, true], [true, false], [false, null]]);
    return { ...verdict, is_bal: next.get(verdict.is_bal) };
  }
  if (kind === "quality") return { ...verdict, quality: Number(value) };
  if (kind === "issue") {
    const has = (letter) => verdict.issues.includes(letter) !== (letter === value);
    return { ...verdict, issues: Object.keys(DEFINITION.issues).filter(has).join("") };
  }
  return null;
}

/** Whether a verdict can be merged; the same rule as the server's. */
export const isComplete = (v) =>
  v.quality !== null && ((v.spectype !== "" && v.z !== null) || v.quality < DEFINITION.min_identified);

export const same = (a, b) => Object.keys(BLANK).every((key) => a[key] === b[key]);

/** One line, for messages and for screen readers. */
export function describe(verdict) {
  const bal = { true: "BAL", false: "no BAL" }[String(verdict.is_bal)];
  const parts = [
    verdict.spectype || "no class",
    verdict.z === null ? "no redshift" : `z = ${formatZ(verdict.z)}`,
    verdict.quality === null ? "no quality" : `quality ${verdict.quality}`,
    bal,
    verdict.issues && `issues ${verdict.issues}`,
    verdict.comment && `“${verdict.comment}”`,
  ];
  return parts.filter(Boolean).join(", ");
}

/** Show a verdict in the form. */
export function render(verdict) {
  const press = (selector, on) => {
    for (const button of document.querySelectorAll(selector)) {
      button.setAttribute("aria-pressed", String(on(button.dataset)));
    }
  };
  press("[data-class]", (data) => data.class === verdict.spectype);
  press("[data-quality]", (data) => Number(data.quality) === verdict.quality && verdict.quality !== null);
  press("[data-issue]", (data) => verdict.issues.includes(data.issue));
  const bal = byId("bal");
  bal.disabled = verdict.spectype !== "QSO";
  bal.setAttribute("aria-pressed", String(verdict.is_bal === true));
  bal.firstChild.textContent = verdict.is_bal === false ? "no BAL " : "BAL ";
  byId("verdict-z").textContent = verdict.z === null ? "" : `z = ${formatZ(verdict.z)}`;
  const comment = byId("comment");
  if (document.activeElement !== comment) comment.value = verdict.comment;
}

/** What is still missing, as a hint. */
export function missing(verdict) {
  if (isComplete(verdict)) return "";
  const parts = [];
  if (verdict.spectype === "") parts.push("class");
  if (verdict.spectype !== "" && verdict.z === null) parts.push("redshift");
  if (verdict.quality === null) parts.push("quality");
  return parts.length ? `open: ${parts.join(", ")}` : "";
}

const round = (z) => Number(z.toFixed(5));
