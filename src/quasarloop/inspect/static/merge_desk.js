// The merger's desk: all verdicts side by side, and the decision.

import { ApiError, byId, el, formatZ, get, newId, post, put } from "./api.js";
import { Desk } from "./desk.js";
import { showPredictions } from "./predictions.js";
import { DEFINITION, describe, isComplete, missing, render, same } from "./verdict.js";

export class MergerDesk extends Desk {
  path = "/api/merge";
  page = "/merge";
  nothing = "nothing to decide";
  unknown = "in this campaign";
  actions = {
    adopt: () => this.adopt(this.adopted + 1),
    decide: () => this.decide(),
    machine: () => {}, // always shown
    skip: () => {},
  };

  prepareList() {
    byId("skip").hidden = true;
    this.badge("saved", "nothing undecided");
  }

  async fetch(target) {
    const [object, { predictions }] = await Promise.all([
      get(`/api/merge/${target}`), post(`/api/objects/${target}/machine`),
    ]);
    return { ...object, predictions };
  }

  begin(_target, object) {
    this.object = object;
    this.stored = object.decision.verdict;
    this.version = object.decision.version;
    this.verdict = this.stored;
    this.steps = [this.verdict];
    this.step = 0;
    this.adopted = -1;
    this.showVerdicts();
    const predicted = showPredictions(object.predictions, (chip) => this.bench.tryOut(chip), this.bench.names);
    const given = object.verdicts.map((v) => v.verdict).filter(({ z }) => z !== null);
    const byZ = new Map([...predicted, ...given].map((chip) => [chip.z, chip]));
    this.bench.offer([...new Set([...given, ...predicted].map(({ z }) => z))].map((z) => byZ.get(z)));
    this.bench.follow(this.verdict.spectype || object.verdicts[0]?.verdict.spectype);
    this.bench.moveTo(this.verdict.z ?? given[0]?.z ?? 0);
    this.bench.openAtFit({ move: false });
    this.show();
  }

  warning() {
    return same(this.verdict, this.stored) ? "" : "not decided: d decides, n leaves it as it was";
  }

  /** Take over one inspector's verdict as a start. */
  adopt(number) {
    const { verdicts } = this.object;
    if (!verdicts.length) return;
    this.adopted = number % verdicts.length;
    const { verdict } = verdicts[this.adopted];
    this.change({ ...verdict, comment: this.verdict.comment });
  }

  async decide() {
    if (!isComplete(this.verdict)) {
      this.hint(`not decided yet; ${missing(this.verdict)}`);
      return;
    }
    const { target_id: target } = this.current;
    const error = this.bench.errorOf(this.verdict.z);
    const save = { verdict: this.verdict, base_version: this.version, save_id: newId(), z_err: error };
    this.badge("saving", "saving …");
    this.loading = true;
    try {
      const answer = await put(`/api/merge/${target}`, save);
      this.version = answer.version;
      this.stored = answer.verdict;
      this.verdict = answer.verdict;
      document.body.dataset.decided = `${target}:${answer.version}`;
      this.badge("saved", "decision saved");
      if (this.index + 1 < this.list.length) await this.go(this.index + 1);
      else this.show("decided; this was the last of this list");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.badge("unsaved", "not saved: press d again");
      const theirs = error.status === 409 && error.body.verdict;
      if (theirs) this.version = error.body.version;
      this.hint(theirs ? `another decision was stored: ${describe(theirs)}; d stores yours over it` : error.message);
    } finally {
      this.loading = false;
      this.ready();
    }
  }

  /** Give the object back to an inspector, with a question. */
  sendBack(inspector) {
    const dialog = byId("send-back");
    byId("send-back-name").textContent = inspector;
    byId("question").value = "";
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", async () => {
      const text = byId("question").value.trim();
      if (dialog.returnValue !== "send" || !text) return;
      const { target_id: target } = this.current;
      await post(`/api/merge/${target}/question`, { inspector, text });
      await this.go(this.index);
      this.hint(`sent back; it waits for ${inspector}`);
    }, { once: true });
  }

  /** One row per inspector, redshifts whole; what is rare comes in a row below it. */
  showVerdicts() {
    const differs = new Set(this.object.disagree_in);
    const zButton = ({ verdict }) => {
      if (verdict.z === null) return "–";
      const button = el("button", { type: "button", class: "chip" }, formatZ(verdict.z));
      button.addEventListener("click", () => this.bench.tryOut(verdict));
      return button;
    };
    const bal = ({ verdict }) => ({ true: "yes", false: "no", null: "–" })[String(verdict.is_bal)];
    const columns = [
      ["class", "class", ({ verdict }) => verdict.spectype || "–"],
      ["z", "redshift", zButton],
      ["q", "quality", ({ verdict }) => String(verdict.quality ?? "–")],
      ["BAL", "bal", bal],
      ["time", "time", (v) => `${Math.round(v.seconds)} s`],
    ];
    const mark = (part) => (differs.has(part) ? "differs" : null);
    const head = el("tr", {}, el("td", {}),
      ...columns.map(([name, part]) => el("th", { scope: "col", class: mark(part) }, name)));
    const rows = this.object.verdicts.flatMap((one) => {
      const talk = one.questions.flatMap(({ text, answer }) => [`asked: ${text}`, answer ? `answer: ${answer}` : "no answer yet"]);
      const issues = [...one.verdict.issues].map((letter) => DEFINITION.issues[letter]);
      const notes = [...issues, one.verdict.comment, ...talk, one.saw_machine ? "saw predictions" : ""].filter(Boolean).join(" · ");
      const cells = columns.map(([, part, value]) => el("td", { class: mark(part) }, value(one)));
      const added = notes ? el("tr", { class: "notes" }, el("td", {}), el("td", { colspan: columns.length }, notes)) : null;
      const back = el("button", { type: "button", class: "quiet", "aria-label": `send back to ${one.inspector}`, title: "Send back with a question" }, "?");
      back.addEventListener("click", () => this.sendBack(one.inspector));
      return [el("tr", {}, el("th", { scope: "row" }, one.inspector, " ", back), ...cells), added].filter(Boolean);
    });
    byId("verdicts").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
  }

  show(text) {
    render(this.verdict);
    const undecided = !same(this.verdict, this.stored);
    const note = this.object.changed_since ? "an inspector changed their verdict after the decision" : "";
    this.hint(text ?? [missing(this.verdict), note].filter(Boolean).join(" · "));
    if (undecided) this.badge("saving", "not decided yet");
    else if (this.version) this.badge("saved", "decision saved");
    else this.badge("saved", "nothing undecided");
  }
}
