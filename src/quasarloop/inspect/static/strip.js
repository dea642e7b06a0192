// Redshifts on one strip: how well templates fit at each, what networks propose; a click goes there.

const HEIGHT = 46;
const AXIS_PX = 14;
const TICKS = [0, 0.2, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 7];
const SNAP_PX = 5;

export class RedshiftStrip {
  /** `take(z)` is called for a click. */
  constructor(canvas, take) {
    this.canvas = canvas;
    this.z = 0;
    this.clear();
    canvas.addEventListener("click", (event) => {
      const z = this.zNear(event.clientX - canvas.getBoundingClientRect().left);
      if (z !== null) take(z);
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  clear() {
    this.profile = null; // Δχ² in bins of log10(1 + z)
    this.peaks = []; // {z, z_err, p} of networks
    this.draw();
  }

  show({ profile = this.profile, peaks = this.peaks }) {
    this.profile = profile;
    this.peaks = peaks;
    this.draw();
  }

  moveTo(z) {
    this.z = z;
    this.draw();
  }

  get logMax() {
    return this.profile ? this.profile.log_step * (this.profile.delta_chi2.length - 1) : Math.log10(8);
  }

  toX(z) {
    return (Math.log10(1 + Math.max(0, z)) / this.logMax) * this.canvas.clientWidth;
  }

  /** The best redshift within a few pixels of a place: a proposed one, else the best fit's. */
  zNear(x) {
    const near = this.peaks.filter(({ z }) => Math.abs(this.toX(z) - x) < SNAP_PX);
    if (near.length) return near.reduce((best, peak) => (peak.p > best.p ? peak : best)).z;
    const log = (x / this.canvas.clientWidth) * this.logMax;
    if (!this.profile) return 10 ** log - 1;
    const { log_step: step, delta_chi2: worse } = this.profile;
    const reach = Math.ceil((SNAP_PX / this.canvas.clientWidth) * worse.length);
    const middle = Math.round(log / step);
    let best = middle;
    for (let bin = middle - reach; bin <= middle + reach; bin++) if (worse[bin] < worse[best]) best = bin;
    return 10 ** (best * step) - 1;
  }

  draw() {
    const { clientWidth: width } = this.canvas;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(HEIGHT * ratio);
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const floor = HEIGHT - AXIS_PX;
    if (this.profile) this.drawProfile(pen, width, floor, colour("model"));
    pen.strokeStyle = colour("emission");
    for (const { z, z_err: error, p } of this.peaks) {
      pen.lineWidth = Math.max(2, this.toX(z + error) - this.toX(z - error));
      pen.beginPath();
      pen.moveTo(this.toX(z), floor);
      pen.lineTo(this.toX(z), floor * (1 - Math.max(0.15, p)));
      pen.stroke();
    }
    pen.fillStyle = colour("faint");
    pen.font = "10px system-ui, sans-serif";
    pen.textAlign = "center";
    for (const z of TICKS) {
      const x = this.toX(z);
      pen.fillRect(x - 0.5, floor, 1, 3);
      pen.fillText(String(z), Math.min(width - 6, Math.max(4, x)), HEIGHT - 1);
    }
    pen.fillStyle = colour("text");
    const x = this.toX(this.z);
    pen.fillRect(x - 0.75, 0, 1.5, floor);
  }

  drawProfile(pen, width, floor, colour) {
    const worse = this.profile.delta_chi2;
    // Half of all redshifts fit badly: the middle one is the ground line.
    const ground = Math.max(1e-6, worse.toSorted((a, b) => a - b)[worse.length >> 1]);
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(0, floor);
    worse.forEach((delta, bin) => {
      const height = Math.max(0, 1 - delta / ground) ** 2;
      pen.lineTo((bin / (worse.length - 1)) * width, floor * (1 - 0.95 * height));
    });
    pen.lineTo(width, floor);
    pen.fill();
  }
}
