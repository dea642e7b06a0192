// A newcomer's desk: objects with known answers; the first `n` gives the verdict, the next goes on.

import { ApiError, byId, formatZ, get, put } from "./api.js";
import { Desk } from "./desk.js";
import { BLANK, isComplete, missing, render } from "./verdict.js";

export class PracticeDesk extends Desk {
  path = "/api/practice";
  page = "/practice";
  nothing = "there is no practice set in this campaign";
  unknown = "in the practice set";
  actions = {
    machine: () => {}, // nothing predicted
    skip: () => {},
  };

  prepareList(progress) {
    byId("skip").hidden = true;
    this.badge("saved", "practice: does not count");
    this.score(progress);
  }

  fetch(target) {
    return get(`/api/practice/${target}`);
  }

  begin(_target, { result }) {
    this.verdict = result?.verdict ?? BLANK;
    this.steps = [this.verdict];
    this.step = 0;
    this.result = result;
    this.bench.offer([]);
    this.bench.follow(this.verdict.spectype);
    this.bench.moveTo(this.verdict.z ?? 0);
    this.bench.openAtFit({ move: false });
    this.show();
  }

  change(verdict, note) {
    if (this.result) this.hint("your first verdict counts");
    else super.change(verdict, note);
  }

  warning() {
    return "";
  }

  leave(index) {
    if (this.result || index < this.index) super.leave(index);
    else if (isComplete(this.verdict)) this.give();
    else this.hint(missing(this.verdict));
  }

  async give() {
    const { target_id: target } = this.current;
    this.loading = true;
    try {
      const { result, progress } = await put(`/api/practice/${target}`, { verdict: this.verdict });
      this.result = result;
      this.current.state = "done";
      this.score(progress);
      this.show();
      this.bench.tryOut(result);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.hint(error.message);
    } finally {
      this.loading = false;
      this.ready();
    }
  }

  show() {
    render(this.verdict);
    const { result } = this;
    byId("practice").dataset.state = result ? (result.wrong.length ? "wrong" : "right") : "open";
    byId("practice-result").textContent = !result ? "Give your verdict; n shows what is right." :
      `${result.wrong.length ? `Not right (${result.wrong.join(", ")})` : "Right"}: it is a ${result.spectype} at z = ${formatZ(result.z)}.`;
    this.hint(result ? "n goes on" : missing(this.verdict));
  }

  score({ given, right, total, ...wrong }) {
    const ways = Object.entries(wrong).filter(([, n]) => n).map(([name, n]) => `${n} ${name}`);
    byId("practice-score").textContent = `${given === total ? "At the end" : "So far"} ${right} of ${given} right` +
      `${ways.length ? ` (not right: ${ways.join(", ")})` : ""}; ${total - given} to come.`;
  }
}
