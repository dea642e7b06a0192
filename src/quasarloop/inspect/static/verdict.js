// The verdict being given: what an action makes of it, and how it stands on the page.

import { byId, formatZ } from "./api.js";

export const BLANK = { spectype: "", z: null, quality: null, is_bal: null, issues: "", comment: "" };
const ISSUES = "RCS";
const STAR_Z = 0.01; // a star's redshift is smaller than this
const MIN_IDENTIFIED = 2;

/** Return the verdict after an action at a trial redshift; null if the action is none of ours. */
export function changed(verdict, action, trialZ) {
  const classes = { star: "STAR", galaxy: "GALAXY", qso: "QSO" };
  if (action in classes) {
    const spectype = classes[action];
    const z = spectype === "STAR" && Math.abs(trialZ) > STAR_Z ? 0 : round(trialZ);
    return { ...verdict, spectype, z, is_bal: spectype === "QSO" ? verdict.is_bal : null };
  }
  if (action === "take") return { ...verdict, z: round(trialZ) };
  if (action === "bal") {
    if (verdict.spectype !== "QSO") return verdict;
    const next = new Map([[null, true], [true, false], [false, null]]);
    return { ...verdict, is_bal: next.get(verdict.is_bal) };
  }
  if (action.startsWith("quality-")) return { ...verdict, quality: Number(action.slice(8)) };
  if (action.startsWith("issue-")) {
    const letter = action.slice(6);
    const kept = verdict.issues.includes(letter)
      ? verdict.issues.replace(letter, "")
      : verdict.issues + letter;
    return { ...verdict, issues: [...ISSUES].filter((one) => kept.includes(one)).join("") };
  }
  return null;
}

/** Whether a verdict can be merged; the same rule as the server's. */
export const isComplete = (v) =>
  v.quality !== null && ((v.spectype !== "" && v.z !== null) || v.quality < MIN_IDENTIFIED);

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
