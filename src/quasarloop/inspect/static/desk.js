// What the desks of inspectors and of the merger share: a list of objects, one of them open, and a
// verdict with undo and redo. A subclass gives `path`, `nothing`, `unknown`, `fetch`, `begin`,
// `show`, `warning` and further `actions`.

import { ApiError, byId, get, insist } from "./api.js";
import { BLANK, changed, same } from "./verdict.js";

export class Desk {
  constructor(bench) {
    this.bench = bench;
    this.verdict = BLANK;
    this.list = [];
    this.index = -1;
    this.steps = [BLANK]; // what undo and redo walk along
    this.step = 0;
    byId("jump").addEventListener("close", () => {
      const target = byId("jump-id").value.trim();
      if (byId("jump").returnValue === "go" && target) this.jump(target);
    });
  }

  async start() {
    const query = new URLSearchParams(location.search);
    const wanted = query.get("target");
    query.delete("target");
    this.filters = query.toString();
    const { objects, progress } = await insist(`${this.path}?${this.filters}`, this.bench.report);
    this.list = objects;
    this.prepareList(progress);
    const first = objects.findIndex((o) => (wanted ? o.target_id === wanted : o.state === "todo"));
    if (wanted && first < 0) await this.jump(wanted);
    else await this.go(Math.max(0, first));
  }

  get current() {
    return this.list[this.index];
  }

  hint(text) {
    byId("verdict-hint").textContent = text;
  }

  badge(state, text) {
    byId("save-state").dataset.state = state;
    byId("save-state").textContent = text;
  }

  /** Show the object at a place in the list; stay where we are if it cannot be loaded. */
  async go(index) {
    if (!this.list.length) {
      this.bench.empty(this.nothing);
      return;
    }
    const { target_id: target } = this.list[index];
    this.loading = true;
    this.hint("");
    this.bench.prefetch(target);
    try {
      const object = await this.fetch(target);
      this.index = index;
      document.body.dataset.target = "";
      history.replaceState(null, "", `?${new URLSearchParams([...new URLSearchParams(this.filters), ["target", target]])}`);
      byId("where").textContent = `${index + 1} / ${this.list.length} · ${target}`;
      await this.bench.open(target);
      this.warned = false;
      this.bench.hint("");
      await this.begin(target, object);
      document.body.dataset.target = target;
      this.prepare(this.list[index + 1]?.target_id);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.hint(`${target} cannot be loaded: ${error.message}`);
    } finally {
      this.loading = false;
      this.ready();
    }
  }

  /** Load the next object's spectrum while this one is looked at. */
  prepare(target) {
    this.bench.prefetch(target);
  }

  /** Do the action of a key or button. */
  act(action) {
    if (!this.current) return;
    const actions = {
      next: () => this.leave(this.index + 1),
      previous: () => this.leave(this.index - 1),
      jump: () => this.openJump(),
      list: () => location.assign(`${this.page}?${this.filters}`),
      undo: () => this.walk(-1, "undo"),
      redo: () => this.walk(+1, "redo"),
      ...this.actions,
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

  change(verdict, note = "") {
    if (same(verdict, this.verdict)) return;
    if (note === "") {
      this.steps = [...this.steps.slice(0, this.step + 1), verdict];
      this.step = this.steps.length - 1;
    }
    const before = this.verdict;
    this.verdict = verdict;
    this.store(before, note);
    this.bench.follow(verdict.spectype);
    if (verdict.z !== null && Math.abs(verdict.z - this.bench.z) > 1e-6) this.bench.moveTo(verdict.z);
    this.show();
  }

  /** What to do with a changed verdict at once. */
  store() {}

  /** Walk back or forth along this object's changes. */
  walk(by, note) {
    const next = this.step + by;
    if (next < 0 || next >= this.steps.length) {
      this.hint(`nothing to ${note}`);
      return;
    }
    this.step = next;
    this.change(this.steps[next], note);
  }

  /** Go on, unless there is something to warn of: once. */
  leave(index) {
    const warning = this.warned ? "" : this.warning();
    if (warning) {
      this.warned = true;
      this.hint(warning);
    } else if (index < 0) this.hint("this is the first");
    else if (index >= this.list.length) this.hint("this was the last of this list");
    else this.go(index);
  }

  /** Open the dialog for a TARGETID to go to; `problem` is why the last one did not do. */
  openJump(problem = "") {
    const dialog = byId("jump");
    // A dialog keeps its last answer: without this, Escape would mean "go" after the first jump.
    dialog.returnValue = "";
    byId("jump-problem").textContent = problem;
    byId("jump-id").value = "";
    if (!dialog.open) dialog.showModal();
  }

  async jump(target) {
    const place = () => this.list.findIndex((object) => object.target_id === target);
    if (place() < 0) {
      const { objects } = await get(`${this.path}?state=all`);
      this.list.splice(this.index + 1, 0, ...objects.filter((object) => object.target_id === target));
    }
    if (place() >= 0) return this.go(place());
    this.openJump(`${target} is not ${this.unknown}`);
    return this.index < 0 ? this.go(0) : undefined;
  }

  /** The trial redshift was moved. */
  moved() {}
}
