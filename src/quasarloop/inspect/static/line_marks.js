// Lines of the object, of the sky and bands of the air, drawn over the spectrum; names beside the data.

const LABEL_ROWS = 3;
const ROW_PX = 14;
const BAND_ALPHA = 0.13;

/** Shade telluric bands and strong sky lines: observed wavelengths, whatever the redshift. */
export function drawBands(pen, plot, frame) {
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  for (const { name, low_aa: low, high_aa: high, kind } of plot.bands) {
    if (kind === "sky" && plot.options.lines === "major") continue;
    const left = plot.toX(low, frame);
    const right = plot.toX(high, frame);
    if (right < frame.left || left > frame.left + frame.width) continue;
    pen.fillStyle = plot.colours.sky;
    pen.globalAlpha = BAND_ALPHA;
    pen.fillRect(left, frame.top, Math.max(1, right - left), frame.height);
    pen.globalAlpha = 1;
    const wide = right - left > pen.measureText(name).width + 2;
    if (wide || kind === "sky") pen.fillText(name, (left + right) / 2, frame.top + frame.height - 3);
  }
}

/** Draw lines where features fall; return their names, to be written above everything. */
export function drawMarks(pen, plot, frame) {
  const labels = [];
  for (const mark of plot.marks) {
    if (plot.options.lines === "major" && !mark.major) continue;
    const x = plot.toX(mark.wave_aa * (1 + plot.z), frame);
    if (x < frame.left || x > frame.left + frame.width) continue;
    const absorbs = mark.kind === "absorption";
    const colour = absorbs ? plot.colours.absorption : plot.colours.emission;
    // Of a doublet both lines are drawn, and its name is written once.
    const last = labels.findLast((label) => label.absorbs === absorbs);
    const named = last?.name === mark.name && x - last.x < pen.measureText(mark.name).width;
    labels.push({ name: mark.name, x, absorbs, colour, major: mark.major, named });
  }
  placeLabels(pen, labels, frame);
  for (const { x, y, absorbs, colour, major } of labels) {
    pen.strokeStyle = colour;
    pen.lineWidth = major ? 1.2 : 0.8;
    pen.setLineDash(absorbs ? [2, 3] : [6, 3]);
    pen.beginPath();
    pen.moveTo(x, absorbs ? frame.top : y + 4);
    pen.lineTo(x, absorbs ? y - 13 : frame.top + frame.height);
    pen.stroke();
  }
  pen.setLineDash([]);
  return labels.filter((label) => !label.named);
}

export function drawLabel(pen, { name, x, y, colour }, ground) {
  pen.textAlign = "center";
  pen.textBaseline = "alphabetic";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  pen.strokeStyle = ground;
  pen.strokeText(name, x, y);
  pen.fillStyle = colour;
  pen.fillText(name, x, y);
}

/** Put names in rows, emission above, absorption below, so that neighbours stay readable. */
function placeLabels(pen, labels, frame) {
  const ends = new Float64Array(2 * LABEL_ROWS).fill(-Infinity);
  for (const label of labels) {
    const width = label.named ? 0 : pen.measureText(label.name).width;
    const first = label.absorbs ? LABEL_ROWS : 0;
    label.row = 0;
    if (!label.named) {
      while (label.row < LABEL_ROWS - 1 && ends[first + label.row] > label.x - width / 2 - 4) label.row++;
      ends[first + label.row] = label.x + width / 2;
    }
    const offset = ROW_PX * label.row;
    label.y = label.absorbs ? frame.top + frame.height - ROW_PX - offset : frame.top + 16 + offset;
  }
}
