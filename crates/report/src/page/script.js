"use strict";

// Everything that is said of runs comes from the block of data, and goes into the page as text: no part of it
// is ever read as HTML.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = document.getElementById("mark").namespaceURI;
const RUNS = DATA.runs;

// ---- Elements ----

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "colour") node.style.setProperty("--colour", value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const colour = index => `var(--c${index % 7})`;

/** Rows of a word and what there is to say; rows without anything are left out. */
function facts(rows) {
  const said = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return said.length && el("dl", { class: "facts" }, said.map(([word, value]) => [el("dt", {}, word), el("dd", {}, value)]));
}

// ---- Numbers ----

function readable(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 0.01 || size >= 1e5) return value.toExponential(2).replace("e+", "e");
  return value.toFixed(4 - Math.floor(Math.min(4, Math.max(0, Math.log10(size)))));
}

const whole = value => value.toLocaleString("en");
const percent = value => `${(100 * value).toFixed(1)}\u00a0%`;
const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;

function millions(count) {
  return count >= 1e9 ? `${(count / 1e9).toFixed(2)}\u00a0G` : count >= 1e5 ? `${(count / 1e6).toFixed(2)}\u00a0M` : whole(count);
}

function duration(seconds) {
  if (seconds < 120) return `${seconds.toFixed(0)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} days`;
}

function bytes(count) {
  return count < 1e6 ? `${(count / 1e3).toFixed(0)} kB` : count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(2)} GB`;
}

const moment = seconds => new Date(1000 * seconds).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
const epochs = value => `${+value.toFixed(value < 10 ? 2 : 1)}`;

// ---- Charts ----

const LEFT = 56, RIGHT = 10, TOP = 8, BOTTOM = 22;
const view = { over: "epoch", hidden: new Set(), charts: [] };

function steps(low, high, count) {
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(step => step >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

function decades(low, high) {
  const ticks = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power++) {
    for (const factor of high - low > 2.5 ? [1] : [1, 2, 5]) {
      const tick = power + Math.log10(factor);
      if (tick >= low - 1e-9 && tick <= high + 1e-9) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : steps(low, high, 3);
}

function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e").replace(".0e", "e");
  return `${+value.toPrecision(4)}`;
}

/** A panel of curves: `lines` are {name, colour, dashed, run, points: [[step, epoch, value], …]}. */
class Chart {
  constructor({ title, lines, percent: inPercent = false, log = false, over = null, legend = true }) {
    Object.assign(this, { title, lines, inPercent, over, log: false });
    this.lines.forEach(line => { line.points = line.points.filter(point => Number.isFinite(point[2])); });
    // What is zero or below has no logarithm.
    const positive = lines.every(line => line.points.every(point => point[2] > 0));
    const toggle = log && positive && el("label", {}, el("input", {
      type: "checkbox", onchange: event => { this.log = event.target.checked; this.draw(); },
    }), " log");
    this.key = el("div", { class: "key" });
    this.area = svg("svg", { role: "img" });
    this.area.addEventListener("pointermove", event => this.point(event));
    this.area.addEventListener("pointerdown", event => this.point(event));
    this.area.addEventListener("pointerleave", () => this.leave());
    this.hasLegend = legend && lines.length > 1;
    this.node = el("figure", { class: "chart" }, el("div", { class: "head" }, el("span", {}, title), toggle), this.hasLegend && this.key, this.area);
    view.charts.push(this);
    new ResizeObserver(() => this.draw()).observe(this.area);
  }

  shown() { return this.lines.filter(line => !view.hidden.has(line.run)); }
  at() { return (this.over || view.over) === "step" ? 0 : 1; }
  scaled(value) { return this.log ? Math.log10(value) : this.inPercent ? 100 * value : value; }
  told(value) { return this.inPercent ? percent(value) : readable(value); }

  draw() {
    const width = this.area.clientWidth, height = this.area.clientHeight;
    if (!width) return;
    const lines = this.shown(), at = this.at();
    const every = lines.flatMap(line => line.points);
    const range = values => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    let [left, right] = every.length ? range(every.map(point => point[at])) : [0, 1];
    let [low, high] = every.length ? range(every.map(point => this.scaled(point[2]))) : [0, 1];
    if (left === right) [left, right] = [left - 0.5, right + 0.5];
    const margin = (high - low || Math.abs(high) || 1) * 0.06;
    [low, high] = [low >= 0 && low - margin < 0 && !this.log ? 0 : low - margin, high + margin];
    this.x = value => LEFT + (value - left) / (right - left) * (width - LEFT - RIGHT);
    this.y = value => height - BOTTOM - (this.scaled(value) - low) / (high - low) * (height - TOP - BOTTOM);
    const place = tick => height - BOTTOM - (tick - low) / (high - low) * (height - TOP - BOTTOM);
    const rows = this.log ? decades(low, high) : steps(low, high, 5);
    const columns = steps(left, right, Math.max(2, Math.floor(width / 55))).filter(tick => at === 1 || Number.isInteger(tick));
    this.rule = svg("line", { class: "rule", y1: TOP, y2: height - BOTTOM, visibility: "hidden" });
    this.dots = svg("g", {});
    this.area.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.area.setAttribute("aria-label", `${this.title}: ` + lines.filter(line => line.points.length)
      .map(line => `${line.name || this.title} ${this.told(line.points[line.points.length - 1][2])} at the end`).join(", "));
    this.area.replaceChildren(
      ...rows.flatMap(tick => [
        svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: place(tick), y2: place(tick) }),
        svg("text", { x: LEFT - 6, y: place(tick) + 4, "text-anchor": "end" }, short(this.log ? 10 ** tick : tick) + (this.inPercent ? " %" : "")),
      ]),
      ...columns.map(tick => svg("text", { x: this.x(tick), y: height - 7, "text-anchor": "middle" }, short(tick))),
      ...lines.flatMap(line => this.curve(line, at)), this.rule, this.dots);
    if (this.hasLegend) {
      this.key.replaceChildren(...lines.map(line => el("span", {}, el("i", { class: line.dashed && "dashed", colour: line.colour }), line.name)));
    }
  }

  curve(line, at) {
    const places = line.points.map(point => `${this.x(point[at]).toFixed(1)} ${this.y(point[2]).toFixed(1)}`);
    if (places.length === 1) {
      return [svg("circle", { class: "dot", r: 3, cx: this.x(line.points[0][at]), cy: this.y(line.points[0][2]), colour: line.colour })];
    }
    return places.length ? [svg("path", { class: line.dashed ? "curve dashed" : "curve", d: `M${places.join("L")}`, colour: line.colour })] : [];
  }

  /** Shows the values nearest to the pointer. */
  point(event) {
    const at = this.at(), box = this.area.getBoundingClientRect(), found = [];
    for (const line of this.shown()) {
      let best = null;
      for (const point of line.points) {
        const distance = Math.abs(this.x(point[at]) - (event.clientX - box.left));
        if (best === null || distance < best.distance) best = { distance, point, line };
      }
      if (best) found.push(best);
    }
    if (!found.length) return this.leave();
    const nearest = found.reduce((a, b) => b.distance < a.distance ? b : a);
    // A line that has nothing near here, such as an evaluation long before, is not said to have.
    const near = found.filter(other => other.distance - nearest.distance < 24);
    const [step, epoch] = nearest.point, x = this.x(nearest.point[at]);
    this.rule.setAttribute("x1", x); this.rule.setAttribute("x2", x);
    this.rule.setAttribute("visibility", "visible");
    this.dots.replaceChildren(...near.map(({ point, line }) =>
      svg("circle", { class: "dot", r: 3.5, cx: this.x(point[at]), cy: this.y(point[2]), colour: line.colour })));
    const tip = document.getElementById("tip");
    tip.replaceChildren(
      el("div", { class: "muted" }, epoch === null ? `update ${whole(step)}` : step === null ? `epoch ${epochs(epoch)}` : `epoch ${epochs(epoch)}, update ${whole(step)}`),
      ...near.slice(0, 16).map(({ point, line }) => el("div", {}, el("i", { class: line.dashed && "dashed", colour: line.colour }), `${line.name ? line.name + ": " : ""}${this.told(point[2])}`)));
    tip.hidden = false;
    const across = event.clientX + 14 + tip.offsetWidth > innerWidth ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14;
    tip.style.left = `${Math.max(4, across)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4))}px`;
  }

  leave() {
    document.getElementById("tip").hidden = true;
    if (this.rule) this.rule.setAttribute("visibility", "hidden");
    if (this.dots) this.dots.replaceChildren();
  }
}

const redraw = () => view.charts.forEach(chart => chart.draw());

// ---- Curves of all runs ----

const GROUPS = [
  { title: "loss", log: true, values: [["loss", "training"], ["val_loss", "validation"]] },
  { title: "accuracy", percent: true, values: [["val_top1", "top-1"], ["val_top5", "top-5"]] },
  { title: "labels", percent: true, values: [["val_map", "mean average precision"], ["val_f1", "F1"]] },
  { title: "R²", values: [["val_r2", ""]] },
  { title: "mean absolute error", values: [["val_mae", ""]] },
  { title: "learning rate", log: true, values: [["lr", ""]] },
  { title: "gradient norm", log: true, values: [["grad_norm", ""]] },
  { title: "images per second", values: [["img_per_s", ""]] },
  { title: "share of time waiting for data", percent: true, values: [["data_wait", ""]] },
];
const AVERAGE = "ema_";
/** Keys that stand elsewhere. */
const ELSEWHERE = ["peak_rss_mib"];

/** The groups, and one for each other key that some run has logged. */
function groups() {
  const known = new Set(GROUPS.flatMap(group => group.values.map(([key]) => key)));
  const keys = RUNS.flatMap(run => run.curves.map(curve => curve.of)).map(key => key.startsWith(AVERAGE) ? key.slice(AVERAGE.length) : key);
  const others = [...new Set(keys)].filter(key => !known.has(key) && !ELSEWHERE.includes(key));
  return [...GROUPS, ...others.map(key => ({ title: key, values: [[key, ""]] }))];
}

/** The lines of a value: of the weights, and dashed of their moving average. */
function linesOf(run, key, look) {
  return [key, AVERAGE + key].flatMap((key, average) => run.curves.filter(curve => curve.of === key).map(curve => ({
    ...look, name: look.name + (average ? (look.name ? ", average" : "average") : ""), dashed: average === 1, points: curve.points,
  })));
}

function together(run, group) {
  const lines = group.values.flatMap(([key, name], index) => linesOf(run, key, { name, colour: colour(index), run: 0 }));
  return lines.length ? [new Chart({ ...group, lines })] : [];
}

/** A panel a value, a colour a run; losses of different objectives are not comparable. */
function compared(group) {
  return group.values.flatMap(([key, name]) => {
    const kinds = [...new Set(RUNS.map(run => run.kind))];
    const apart = key.endsWith("loss") && kinds.length > 1 ? kinds : [null];
    return apart.flatMap(kind => {
      const lines = RUNS.flatMap((run, index) => kind === null || run.kind === kind ? linesOf(run, key, { name: run.name, colour: colour(index), run: index }) : []);
      const title = [kind, key === "loss" ? (kind === null ? "training loss" : "loss") : name && name !== group.title ? `${name} ${group.title === "labels" ? "" : group.title}`.trim() : group.title].filter(Boolean).join(" ");
      return lines.length ? [new Chart({ ...group, title, lines, legend: false })] : [];
    });
  });
}

function curves() {
  const charts = groups().flatMap(group => RUNS.length === 1 ? together(RUNS[0], group) : compared(group));
  if (!charts.length) return null;
  const over = (value, text) => el("label", {}, el("input", {
    type: "radio", name: "over", value, checked: view.over === value, onchange: () => { view.over = value; redraw(); },
  }), text);
  const legend = RUNS.length > 1 && el("fieldset", { class: "controls", id: "legend" }, RUNS.map((run, index) => el("label", {},
    el("input", { type: "checkbox", checked: true, onchange: event => {
      if (event.target.checked) view.hidden.delete(index); else view.hidden.add(index);
      redraw();
    } }), el("span", {}, el("span", { class: "swatch", colour: colour(index) }), run.name))),
    RUNS.some(run => run.curves.some(curve => curve.of.startsWith(AVERAGE))) && el("span", { class: "muted" }, "dashed: moving average of the weights"));
  return el("section", { id: "curves" }, el("h2", {}, "Curves"), legend,
    el("fieldset", { class: "controls" }, over("epoch", "over epochs"), over("step", "over updates")),
    el("div", { class: "charts" }, charts.map(chart => chart.node)),
    DATA.thinned && el("p", { class: "muted" }, "Of long curves, the lowest and the highest value of every stretch are drawn."));
}

// ---- Summary ----

const VERDICTS = { learning: "good", plateau: "fair", collapsing: "bad", diverging: "bad" };

function ending({ status: { outcome, reason, step, total_steps: recorded, last_line: last }, plan }) {
  const total = recorded === null && plan ? plan.total_steps : recorded;
  const place = step === null ? "" : ` at update ${whole(step)}${total === null ? "" : ` of ${whole(total)}`}`;
  const said = {
    finished: `finished${place}`,
    stopped: `stopped${place}${reason ? `: ${reason}` : ""}`,
    stopped_early: `stopped${place}: no better score any more`,
    open: `no end is recorded${place}: it is training, has failed or was killed${last === null ? "" : ` (last logged ${moment(last)})`}`,
  };
  return said[outcome] || `${outcome}${place}`;
}

const last = (run, key) => {
  const curve = run.curves.find(curve => curve.of === key);
  return curve && curve.points.length ? curve.points[curve.points.length - 1][2] : null;
};

function card(run, index) {
  const { status, plan, health, judgement } = run;
  const first = run.curves.find(curve => curve.of === "loss"), length = status.epochs || (plan && plan.epochs);
  const figures = [
    // Where it is not defined on the images, the loss with its sign turned stands for it.
    status.best !== null && (status.score_name === "R²" || status.best.score < 0 ? ["best score", readable(status.best.score)] : [status.score_name, percent(status.best.score)]),
    judgement && status.best === null && ["accuracy", percent(judgement.top1)],
    first && ["loss", first.points.length > 1 ? `${readable(first.points[0][2])} → ${readable(last(run, "loss"))}` : readable(last(run, "loss"))],
    status.epoch !== null && ["epochs", length ? `${epochs(status.epoch)} of ${whole(length)}` : epochs(status.epoch)],
    plan && plan.parameters !== null && ["parameters", millions(plan.parameters)],
    status.seconds !== null && ["took", duration(status.seconds)],
  ].filter(Boolean);
  return el("article", { class: "card" },
    RUNS.length > 1 && el("h2", {}, el("span", { class: "swatch", colour: colour(index) }), el("a", { href: `#run-${index + 1}` }, run.name)),
    el("div", {}, `${run.kind ? run.kind + ", " : ""}${ending(run)}`),
    health && health.verdict && el("p", { class: "verdict" }, el("span", { class: `pill ${VERDICTS[health.verdict] || ""}` }, health.verdict), health.reason ? ` ${health.reason}` : ""),
    el("dl", { class: "figures" }, figures.map(([word, value]) => el("div", {}, el("dt", {}, word), el("dd", {}, value)))));
}

// ---- One run ----

function reconstructions(run) {
  const { samples } = run;
  if (!samples.length) return null;
  const image = el("img", { alt: "" }), caption = el("figcaption", { role: "status" });
  const show = index => {
    const { step, epoch, image: source } = samples[index];
    image.src = source;
    caption.textContent = `update ${whole(step)}${epoch === null ? "" : `, epoch ${epochs(epoch)}`} (${index + 1} of ${samples.length})`;
    image.alt = `Reconstructions after ${step} updates`;
  };
  const slider = samples.length > 1 && el("input", {
    type: "range", class: "slider", min: 0, max: samples.length - 1, value: samples.length - 1, "aria-label": "picture over time",
    oninput: event => show(+event.target.value),
  });
  show(samples.length - 1);
  const all = run.sample_count;
  return [el("h3", {}, "Reconstructions over time"), el("figure", { class: "picture" }, el("div", { class: "time" }, slider, caption), image,
    all > samples.length && el("p", { class: "muted" }, `${samples.length} of the run's ${whole(all)} pictures, evenly spaced.`))];
}

const HEALTH = [
  ["loss", "loss on the same images each time", {}], ["distance", "distance between channels, by stage", {}],
  ["dead", "share of dead channels, by stage", { percent: true }], ["knn", "k-NN accuracy", { percent: true }],
  ["linear", "linear probe accuracy", { percent: true }], ["grn_gamma", "GRN: mean |γ|, by stage", {}], ["grn_beta", "GRN: mean |β|, by stage", {}],
  ["grad_norm", "gradient norm, by layer group", { log: true }], ["update_ratio", "update to weight, by layer group", { log: true }],
];

function health(run) {
  if (!run.health || !run.health.curves.length) return null;
  const own = run.health.curves, keys = [...new Set(own.map(curve => curve.of))];
  const known = HEALTH.filter(([key]) => keys.includes(key));
  const others = keys.filter(key => !HEALTH.some(([known]) => known === key)).map(key => [key, key, {}]);
  const charts = [...known, ...others].map(([key, title, options]) => new Chart({ title, ...options, lines: own.filter(curve => curve.of === key)
    .map((curve, index) => ({ name: curve.part || "", colour: colour(index), dashed: index >= 7, points: curve.points, run: null })) }));
  const held = run.health.held_out;
  return [el("h3", {}, "Health"), held !== null && el("p", { class: "muted" }, held ? "Measured on images that are held out." : "Measured on images that are trained on: none are held out."),
    el("div", { class: "charts" }, charts.map(chart => chart.node))];
}

/** Pairs of classes by the images of one that are taken for the other. */
function confused(judgement) {
  return judgement.counts.filter(([truth, predicted]) => truth !== predicted).sort((a, b) => b[2] - a[2]);
}

function cellColour(truth, predicted, share) {
  const own = getComputedStyle(document.documentElement).getPropertyValue(truth === predicted ? "--right" : "--wrong");
  // The root, so that a few images are seen too.
  return `rgba(${own}, ${Math.sqrt(share).toFixed(3)})`;
}

function matrix(judgement) {
  const { classes, counts } = judgement, count = classes.length;
  const totals = judgement.class_images, paint = [];
  const words = (truth, predicted, images) => `${images} of ${plural(totals[truth], "image")} of ${classes[truth]} ${truth === predicted ? "recognised" : `taken for ${classes[predicted]}`} (${percent(images / Math.max(1, totals[truth]))})`;
  if (count > 40) {
    const canvas = el("canvas", { width: count, height: count, role: "img", "aria-label": "confusion matrix: true classes from above, predicted ones from the left" });
    paint.push(() => {
      const pen = canvas.getContext("2d");
      pen.clearRect(0, 0, count, count);
      for (const [truth, predicted, images] of counts) {
        pen.fillStyle = cellColour(truth, predicted, images / totals[truth]);
        pen.fillRect(predicted, truth, 1, 1);
      }
    });
    return [el("div", {}, canvas, el("p", { class: "muted" }, `${count} classes in their order: true ones from above, predicted ones from the left.`)), paint];
  }
  const found = new Map(counts.map(([truth, predicted, images]) => [truth * count + predicted, images]));
  const many = count > 16;
  const cell = (truth, predicted) => {
    const images = found.get(truth * count + predicted) || 0;
    const node = el("td", { title: words(truth, predicted, images) }, !many && images ? `${images}` : "");
    paint.push(() => {
      const share = images / Math.max(1, totals[truth]);
      node.style.backgroundColor = images ? cellColour(truth, predicted, share) : "";
      node.style.color = share > 0.5 ? "var(--strong)" : "";
    });
    return node;
  };
  const indices = classes.map((_, index) => index);
  const table = el("table", { class: many ? "confusion many" : "confusion" },
    el("thead", {}, el("tr", {}, el("th", {}), indices.map(index => el("th", { title: classes[index], scope: "col" }, `${index + 1}`)))),
    el("tbody", {}, indices.map(truth => el("tr", {}, el("th", { title: classes[truth], scope: "row" }, `${truth + 1} ${classes[truth]}`), indices.map(predicted => cell(truth, predicted))))));
  return [el("div", {}, el("div", { class: "scroll" }, table), el("p", { class: "muted" }, "Rows are true classes, columns the predicted ones in the same order.")), paint];
}

function judgementOf(run) {
  const { judgement } = run;
  if (!judgement) return null;
  const [table, paint] = matrix(judgement);
  const repaint = () => paint.forEach(one => one());
  repaint();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  const pairs = confused(judgement).slice(0, 10);
  const list = pairs.length && el("div", {}, el("p", {}, "Most confused:"), el("table", { class: "classes pairs" }, el("tbody", {}, pairs.map(([truth, predicted, images]) => el("tr", {},
    el("th", {}, `${judgement.classes[truth]} taken for ${judgement.classes[predicted]}`), el("td", {}, `${images} of ${judgement.class_images[truth]}`))))));
  const { mistakes } = judgement;
  return [
    el("h3", {}, "Which class is taken for which"),
    el("p", {}, `${percent(judgement.top1)} of ${plural(judgement.images, "image")} (${judgement.part}) recognised, ${percent(judgement.top5)} among the five most likely; loss ${readable(judgement.loss)}. Judged: ${judgement.checkpoint}.`),
    judgement.remarks.map(remark => el("p", { class: "muted" }, remark)),
    judgement.left_out > 0 && el("p", { class: "muted" }, `${plural(judgement.left_out, "image")} of rare pairs are not drawn.`),
    el("div", { class: "two" }, table, list),
    mistakes.length > 0 && [el("h3", {}, "Wrong with the highest confidence"), el("div", { class: "tiles" }, mistakes.map(mistake => el("figure", {},
      mistake.image && el("img", { src: mistake.image, alt: mistake.name }),
      el("div", {}, `taken for ${judgement.classes[mistake.predicted]}, ${percent(mistake.confidence)}`),
      el("div", {}, `is ${judgement.classes[mistake.truth]}`), el("small", {}, mistake.name))))],
  ];
}

function plan(run) {
  const { plan } = run;
  if (!plan) return null;
  const batch = plan.effective_batch === null ? `${plan.batch_size} × ${plan.accumulate} accumulated`
    : `${plan.batch_size} × ${plan.accumulate} accumulated${plan.processes > 1 ? ` × ${plan.processes} processes` : ""} = ${whole(plan.effective_batch)} images`;
  const patches = plan.patches === null ? null : `${plan.visible_patches} of ${plan.patches} patches visible`;
  const table = facts([
    ["network", plan.model],
    ["parameters", plan.parameters !== null ? whole(plan.parameters) + (plan.decoder_parameters === null ? "" : `, of these ${whole(plan.decoder_parameters)} in the decoder`) : null],
    ["multiply-adds", plan.macs !== null ? `${millions(plan.macs)} a forward pass over one image` : null],
    ["mask", patches], ["start", plan.init ? `from ${plan.init}` : "from random weights, or as the command line said"],
    ["batch", batch],
    ["length", `${plural(plan.epochs, "epoch")}${plan.steps_per_epoch === null ? "" : ` of ${plural(plan.steps_per_epoch, "update")}`}${plan.total_steps === null ? "" : `, ${plural(plan.total_steps, "update")} in all`}`],
    ["learning rate", plan.peak_lr === null ? null : `${readable(plan.peak_lr)}${plan.warmup_epochs > 0 ? ` after ${epochs(plan.warmup_epochs)} epoch${plan.warmup_epochs === 1 ? "" : "s"} of warm-up` : " from the start"}, ${readable(plan.min_lr)} at the end`],
    ["weight decay", `${plan.weight_decay}`], ["gradients", plan.clip_grad === null ? null : `norm clipped to ${plan.clip_grad}`],
    ["moving average", plan.ema_decay === null ? null : `decay ${plan.ema_decay}`], ["numbers", plan.precision], ["seed", `${plan.seed}`],
  ]);
  const schedule = plan.schedule.length && new Chart({ title: "planned learning rate over epochs", over: "epoch", lines: [{ name: "", colour: colour(RUNS.indexOf(run)), run: null, points: plan.schedule.map(([epoch, rate]) => [null, epoch, rate]) }] }).node;
  return [el("h3", {}, "Plan"), el("div", { class: "two" }, table, schedule)];
}

function images(run) {
  const { images } = run;
  if (!images) return null;
  const most = Math.max(1, ...images.classes.map(([, train]) => train));
  const rows = images.classes.map(([name, train, val]) => el("tr", {}, el("th", {}, name), el("td", {}, whole(train)), images.val > 0 && el("td", {}, whole(val)),
    el("td", { class: "share" }, (() => { const bar = el("span", { class: "bar" }); bar.style.width = `${100 * train / most}%`; return bar; })())));
  const table = rows.length && el("div", { class: "scroll" }, el("table", { class: "classes" }, el("thead", {}, el("tr", {}, el("th", {}, "class"), el("td", {}, "trained on"), images.val > 0 && el("td", {}, "held out"), el("td", {}))), el("tbody", {}, rows)));
  return [el("h3", {}, "Images"), facts([
    ["where", images.path], ["trained on", `${plural(images.train, "image")}, ${bytes(images.train_bytes)}`],
    ["held out", images.val > 0 ? `${plural(images.val, "image")}, ${bytes(images.val_bytes)}` : "none"],
    ["size", images.size && `${images.size[0]} × ${images.size[1]} pixels (height × width)`],
    ["normalised by", images.mean && `mean ${images.mean.map(short).join(", ")}; deviation ${images.std.map(short).join(", ")}`],
    ["left out", run.status.skipped_images ? `${plural(run.status.skipped_images, "unreadable image")}` : null],
  ]), table && (rows.length > 12 ? el("details", {}, el("summary", {}, `${plural(rows.length + images.more_classes, "class").replace(/classs$/, "classes")}`), table) : table),
  images.more_classes > 0 && el("p", { class: "muted" }, `The ${rows.length} largest classes are shown; there are ${whole(images.more_classes)} more.`)];
}

function configuration(run) {
  return run.config && [el("h3", {}, "Configuration"), el("details", {}, el("summary", {}, "config.toml, every default spelled out"), el("pre", { tabindex: 0 }, run.config))];
}

function machine(run) {
  const { machine, status } = run, version = status.version || (machine && machine.version);
  if (!machine && !version) return null;
  const of = machine || {};
  return [el("h3", {}, "Machine and version"), facts([
    ["program", version && `train-cli ${version}`], ["processor", of.cpu],
    ["cores", of.cores ? `${of.cores}` : null], ["instructions", of.instructions && of.instructions.join(", ")],
    ["memory", of.ram_mib ? `${(of.ram_mib / 1024).toFixed(1)} GiB` : null], ["system", of.system],
    ["device", of.device && `${of.device}, ${plural(of.threads, "thread")}${of.processes > 1 ? `, ${of.processes} processes` : ""}`],
    ["most memory held", status.peak_rss_mib === null ? null : `${whole(status.peak_rss_mib)} MiB`],
    ["run directory", el("code", {}, run.path)],
  ])];
}

function section(run, index) {
  return el("section", { class: "run", id: `run-${index + 1}`, colour: colour(index) },
    el("h2", {}, RUNS.length > 1 ? run.name : "In detail"),
    [reconstructions, judgementOf, health, plan, images, configuration, machine].map(part => part(run)).flat(3));
}

function missing() {
  const rows = RUNS.flatMap(run => run.missing.map(what => RUNS.length > 1 ? `${run.name}: ${what}` : what));
  return rows.length > 0 && el("section", { id: "missing" }, el("h2", {}, "What is missing here"), el("ul", {}, rows.map(row => el("li", {}, row))));
}

// ---- The page ----

const longest = Math.max(0, ...RUNS.flatMap(run => run.curves.flatMap(curve => curve.points.map(point => point[1]).filter(Number.isFinite).slice(-1))));
if (longest < 2) view.over = "step";
const title = RUNS.length === 1 ? RUNS[0].name : RUNS.map(run => run.name).join(", ");
document.title = `${title} – report`;
document.getElementById("title").textContent = RUNS.length === 1 ? title : `${RUNS.length} runs`;
document.getElementById("made").textContent = `Report by train-cli ${DATA.version}, ${moment(DATA.written)}`;
fill(document.getElementById("page"), {}, [
  el("div", { class: "cards" }, RUNS.map(card)), curves(), RUNS.map(section), missing(),
].flat());
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(details => { details.open = true; }));
document.documentElement.dataset.ready = "yes";
