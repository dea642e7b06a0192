// The merger's desk: all verdicts side by side, and the decision.

import { ApiError, byId, el, formatZ, get, insist, newId, post, put } from "./api.js";
import { askJump } from "./jump.js";
import { showMachine } from "./machine.js";
import { BLANK, changed, describe, isComplete, missing, render, same } from "./verdict.js";

export class MergerDesk {
  constructor(bench) {
    this.bench = bench;
    this.verdict = BLANK;
    this.list = [];
    this.index = -1;
  }

  async start() {
    const asked = new URLSearchParams(location.search);
    const wanted = asked.get("target");
    this.state = asked.get("state") ?? "conflict";
    const list = `/api/merge?state=${encodeURIComponent(this.state)}`;
    const { objects } = await insist(list, this.bench.tell);
    this.list = objects;
    byId("skip").hidden = true;
    this.badge("saved", "nothing undecided");
    const first = objects.findIndex((object) => object.target_id === wanted);
    if (wanted && first < 0) await this.jump(wanted);
    else await this.go(Math.max(0, first));
  }

  get current() {
    return this.list[this.index];
  }

  /** Show the object at a place in the queue; stay where we are if it cannot be had. */
  async go(index) {
    if (!this.list.length) {
      this.bench.empty("nothing to decide");
      return;
    }
    const { target_id: target } = this.list[index];
    this.loading = true;
    byId("verdict-hint").textContent = "";
    this.bench.prefetch(target);
    try {
      const [object, { opinion }] = await Promise.all([
        get(`/api/merge/${target}`), post(`/api/objects/${target}/machine`),
      ]);
      this.index = index;
      document.body.dataset.target = "";
      history.replaceState(null, "", `?state=${this.state}&target=${target}`);
      byId("where").textContent = `${index + 1} / ${this.list.length} · ${target}`;
      await this.bench.open(target);
      this.begin(object, opinion);
      document.body.dataset.target = target;
      this.bench.prefetch(this.list[index + 1]?.target_id);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      byId("verdict-hint").textContent = `${target} cannot be had: ${error.message}`;
    } finally {
      this.loading = false;
      this.ready();
    }
  }

  /** Lay an object out on the desk. */
  begin(object, opinion) {
    this.object = object;
    this.warned = false;
    this.stored = object.decision.verdict;
    this.version = object.decision.version;
    this.verdict = this.stored;
    this.steps = [this.verdict];
    this.step = 0;
    this.adopted = -1;
    this.showVerdicts();
    const machines = showMachine(opinion, (chip) => this.bench.tryOut(chip));
    const said = object.verdicts.map((v) => v.verdict).filter(({ z }) => z !== null);
    const byZ = new Map([...machines, ...said].map((chip) => [chip.z, chip]));
    this.bench.offer([...new Set([...said, ...machines].map(({ z }) => z))].map((z) => byZ.get(z)));
    this.bench.follow(this.verdict.spectype || object.verdicts[0]?.verdict.spectype);
    this.bench.moveTo(this.verdict.z ?? said[0]?.z ?? 0);
    this.bench.hint("");
    this.show();
  }

  act(action) {
    if (!this.current) return;
    const actions = {
      next: () => this.leave(this.index + 1),
      previous: () => this.leave(this.index - 1),
      jump: () => askJump(),
      list: () => location.assign(`/merge?state=${this.state}`),
      undo: () => this.walk(-1),
      redo: () => this.walk(+1),
      adopt: () => this.adopt(this.adopted + 1),
      decide: () => this.decide(),
      machine: () => {},
      skip: () => {},
    };
    if (action in actions) {
      actions[action]();
      return;
    }
    const next = changed(this.verdict, action, this.bench.z);
    if (next) this.change(next);
  }

  comment(text) {
    if (this.current) this.change({ ...this.verdict, comment: text });
  }

  change(verdict, walking = false) {
    if (same(verdict, this.verdict)) return;
    if (!walking) {
      this.steps = [...this.steps.slice(0, this.step + 1), verdict];
      this.step = this.steps.length - 1;
    }
    this.verdict = verdict;
    this.bench.follow(verdict.spectype);
    if (verdict.z !== null && Math.abs(verdict.z - this.bench.z) > 1e-6) this.bench.moveTo(verdict.z);
    this.show();
  }

  walk(by) {
    const next = this.step + by;
    if (next < 0 || next >= this.steps.length) return;
    this.step = next;
    this.change(this.steps[next], true);
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
      byId("verdict-hint").textContent = `not decided yet; ${missing(this.verdict)}`;
      return;
    }
    const { target_id: target } = this.current;
    const save = { verdict: this.verdict, base_version: this.version, save_id: newId() };
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
      byId("verdict-hint").textContent = theirs
        ? `another decision stands: ${describe(theirs)}; d stores yours over it`
        : error.message;
    } finally {
      this.loading = false;
      this.ready();
    }
  }

  leave(index) {
    if (!same(this.verdict, this.stored) && !this.warned) {
      this.warned = true;
      byId("verdict-hint").textContent = "not decided: d decides, n leaves it as it was";
      return;
    }
    if (index >= 0 && index < this.list.length) this.go(index);
    else byId("verdict-hint").textContent = index < 0 ? "this is the first" : "this was the last of this list";
  }

  async jump(target) {
    let index = this.list.findIndex((object) => object.target_id === target);
    if (index < 0) {
      const { objects } = await get("/api/merge?state=all");
      const found = objects.find((object) => object.target_id === target);
      if (found) {
        this.list.splice(this.index + 1, 0, found);
        index = this.index + 1;
      }
    }
    if (index >= 0) return this.go(index);
    askJump(`${target} is not in this campaign`);
    return undefined;
  }

  moved() {}

  showVerdicts() {
    const differs = new Set(this.object.disagree_in);
    const head = el("tr", {}, el("td", {}), ...this.object.verdicts.map((v) => el("th", { scope: "col" }, v.inspector)));
    const row = (name, part, value) =>
      el("tr", { class: differs.has(part) ? "differs" : null },
        el("th", { scope: "row" }, name), ...this.object.verdicts.map((v) => el("td", {}, value(v))));
    const zButton = ({ verdict }) => {
      if (verdict.z === null) return "–";
      const button = el("button", { type: "button", class: "chip" }, formatZ(verdict.z));
      button.addEventListener("click", () => this.bench.tryOut(verdict));
      return button;
    };
    const bal = (v) => ({ true: "yes", false: "no", null: "–" })[String(v.verdict.is_bal)];
    const rows = [
      row("class", "class", (v) => v.verdict.spectype || "–"),
      row("z", "redshift", zButton),
      row("quality", "quality", (v) => String(v.verdict.quality ?? "–")),
      row("BAL", "bal", bal),
      row("issues", "issues", (v) => v.verdict.issues || "–"),
      row("comment", "comment", (v) => v.verdict.comment || "–"),
      row("time", "time", (v) => `${Math.round(v.seconds)} s${v.saw_machine ? ", not blind" : ""}`),
    ];
    byId("verdicts").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
  }

  show(text) {
    render(this.verdict);
    const undecided = !same(this.verdict, this.stored);
    const note = this.object.changed_since ? "an inspector changed their verdict after the decision" : "";
    byId("verdict-hint").textContent = text ?? [missing(this.verdict), note].filter(Boolean).join(" · ");
    if (undecided) this.badge("saving", "not decided yet");
    else if (this.version) this.badge("saved", "decision saved");
    else this.badge("saved", "nothing undecided");
  }

  badge(state, text) {
    byId("save-state").dataset.state = state;
    byId("save-state").textContent = text;
  }
}
