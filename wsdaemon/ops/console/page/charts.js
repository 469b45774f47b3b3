// A moving chart of one or two lines on a canvas, with its latest values in words beside it.

import { element } from "./dom.js";

const MOST = 180;

export class Chart {
  /** `series` are names of lines; `show` puts a value in words. */
  constructor(title, series, show) {
    this.series = series;
    this.show = show;
    this.points = series.map(() => []);
    this.canvas = element("canvas", { role: "img", "aria-label": title });
    this.words = series.map((name) => element("span", {}, name));
    this.title = title;
    this.card = element("section", { class: "card" }, element("h3", {}, title), this.canvas, element("div", { class: "legend" }, ...this.words));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /** One value for each line; null leaves a hole. */
  add(values) {
    values.forEach((value, index) => {
      this.points[index].push(value);
      if (this.points[index].length > MOST) this.points[index].shift();
      this.words[index].textContent = `${this.series[index]} ${value === null ? "none yet" : this.show(value)}`;
    });
    this.canvas.setAttribute("aria-label", `${this.title}: ${this.words.map((word) => word.textContent).join(", ")}`);
    this.draw();
  }

  draw() {
    const { canvas } = this, scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width || !height) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const every = this.points.flat().filter((value) => value !== null), top = Math.max(...every, 0) * 1.15 || 1;
    pen.strokeStyle = getComputedStyle(this.card).borderTopColor;
    pen.fillStyle = getComputedStyle(this.card.querySelector(".legend")).color;
    pen.font = "11px system-ui, sans-serif";
    for (const share of [0, 0.5, 1]) {
      const y = Math.round(4 + (height - 8) * (1 - share)) + 0.5;
      pen.beginPath();
      pen.moveTo(0, y);
      pen.lineTo(width, y);
      pen.stroke();
      if (share) pen.fillText(this.show(top * share), 2, y + 12);
    }
    this.points.forEach((points, index) => this.line(pen, points, probe(this.words[index]), width, height, top));
  }

  line(pen, points, color, width, height, top) {
    pen.strokeStyle = color;
    pen.lineWidth = 2;
    pen.beginPath();
    let down = false;
    points.forEach((value, index) => {
      if (value === null) { down = false; return; }
      const x = width - ((points.length - 1 - index) / (MOST - 1)) * width, y = 4 + (height - 8) * (1 - value / top);
      if (down) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      down = true;
    });
    pen.stroke();
  }
}

/** The colour in force of a legend's mark, which the style sheet chooses for light and dark. */
const probe = (word) => getComputedStyle(word, "::before").backgroundColor;
