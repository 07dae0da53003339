"use strict";
// Draws the page's charts from its JSON data. One function per kind of chart; colours come from the style sheet.
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const root = document.documentElement;
  const drawn = new Map();
  const printing = () => "printing" in root.dataset;
  const PAPER = 660;  // width in pixels between the margins of a printed page
  const high = (width) => printing() ? 190 : width < 480 ? 240 : 300;
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  // Ordered series go from dark to bright, so they differ without colours too; shades close to the background are left out.
  const ORDERED = [[13, 8, 135], [84, 2, 163], [139, 10, 165], [185, 50, 137], [219, 92, 104], [244, 136, 73], [254, 188, 43], [240, 249, 33]];
  const between = (place) => {
    const at = place * (ORDERED.length - 1), from = Math.min(ORDERED.length - 2, Math.floor(at));
    return `rgb(${ORDERED[from].map((value, part) => Math.round(value + (ORDERED[from + 1][part] - value) * (at - from))).join(" ")})`;
  };
  const seriesColour = (line) => line.shade == null ? colour(`c${line.colour % 8}`)
    : between(root.dataset.theme === "dark" ? 0.28 + 0.72 * line.shade : 0.8 * line.shade);
  // Series beyond the eight colours have them again, in patterns of their own and with hollow points.
  const PATTERNS = [null, [2, 3], [12, 3, 2, 3]], BORDERS = ["solid", "dotted", "dashed"];
  const again = (line) => line?.shade == null ? Math.min(Math.floor((line?.colour || 0) / 8), PATTERNS.length - 1) : 0;
  const make = (tag, text, parent) => {
    const node = document.createElement(tag);
    node.textContent = text;
    parent.append(node);
    return node;
  };
  const shown = (value, unit) => value == null ? "–" : `${value.toLocaleString("en", { maximumSignificantDigits: 6 })}${unit ? ` ${unit}` : ""}`;
  const ticks = (values) => values.map((value) => value == null ? "" : value.toLocaleString("en", { maximumSignificantDigits: 6 }));

  const WHOLE = Array.from({ length: 30 }, (_, number) => [1, 2, 5][number % 3] * 10 ** Math.floor(number / 3));  // ticks of counts
  const axis = (spec, more) => ({
    ...(spec.whole ? { incrs: WHOLE } : {}),
    stroke: colour("soft"), grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("line"), width: 1 },
    label: spec.unit && !spec.label.endsWith(spec.unit) ? `${spec.label} (${spec.unit})` : spec.label, labelSize: LABEL, font: "12px system-ui, sans-serif",
    labelFont: "12px system-ui, sans-serif", values: (_, values) => ticks(values), ...more,
  });

  // uPlot caches the canvas state: a hook that changes a colour or a font must restore it.
  const undone = (paint) => (u) => {
    u.ctx.save();
    paint(u);
    u.ctx.restore();
  };
  const painters = (hooks) => Object.fromEntries(Object.entries(hooks).map(([name, all]) => [name, all.map(undone)]));

  const regionEdges = (u, region) => [
    Math.max(u.bbox.left, region.begin == null ? -Infinity : u.valToPos(region.begin, "x", true)),
    Math.min(u.bbox.left + u.bbox.width, region.end == null ? Infinity : u.valToPos(region.end, "x", true)),
  ];
  const fillRegions = (regions) => (u) => regions.forEach((region) => {
    const [left, right] = regionEdges(u, region);
    u.ctx.fillStyle = colour(region.kind);
    if (right > left) u.ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
  });
  const nameRegions = (regions) => (u) => regions.forEach((region) => {
    const [left, right] = regionEdges(u, region);
    u.ctx.fillStyle = colour("ink");
    u.ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    u.ctx.textAlign = "center";
    u.ctx.textBaseline = "top";
    if (right - left > u.ctx.measureText(region.label).width) u.ctx.fillText(region.label, (left + right) / 2, u.bbox.top + 5 * devicePixelRatio);
  });

  // Labels stand above the plot, where no curve runs through them: the rightmost lowest, so that no line crosses another's label.
  const MARK = 16;
  const drawMarks = (marks) => (u) => {
    const right = u.bbox.left + u.bbox.width, space = 4 * devicePixelRatio;
    const shown = marks.map((mark) => ({ ...mark, x: u.valToPos(mark.at, "x", true) })).filter((mark) => mark.x >= u.bbox.left && mark.x <= right)
      .sort((one, other) => other.x - one.x).map((mark, row) => ({ ...mark, y: u.bbox.top - (2 + MARK * row) * devicePixelRatio }));
    u.ctx.strokeStyle = colour("c6");
    u.ctx.lineWidth = 1.5 * devicePixelRatio;
    u.ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    shown.forEach(({ x, y }) => {
      u.ctx.beginPath();
      u.ctx.moveTo(x, y - MARK * devicePixelRatio);
      u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
      u.ctx.stroke();
    });
    u.ctx.setLineDash([]);
    u.ctx.fillStyle = colour("c6");
    u.ctx.strokeStyle = colour("card");
    u.ctx.lineWidth = 4 * devicePixelRatio;
    u.ctx.lineJoin = "round";
    u.ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    u.ctx.textAlign = "left";
    u.ctx.textBaseline = "bottom";
    shown.forEach((mark) => {
      const label = mark.names_its_place === false ? mark.label : `${mark.label}: ${mark.at.toLocaleString("en")}`;
      const left = Math.max(space, Math.min(mark.x + space, right - u.ctx.measureText(label).width));
      u.ctx.strokeText(label, left, mark.y);
      u.ctx.fillText(label, left, mark.y);
    });
  };

  // The interval of each value that has one, and the repeats themselves as rings.
  const drawWhiskers = (series) => (u) => series.forEach((line, number) => {
    if (!(line.low?.length || line.each?.length) || !u.series[number + 1].show) return;
    u.ctx.save();
    u.ctx.globalAlpha = 0.65;
    u.ctx.beginPath();
    u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    u.ctx.clip();
    u.ctx.strokeStyle = seriesColour(line);
    u.ctx.lineWidth = devicePixelRatio;
    u.ctx.setLineDash([]);
    const cap = 4 * devicePixelRatio, to = (value) => u.valToPos(value, `y${line.axis}`, true);
    line.low?.forEach((low, at) => {
      if (low == null) return;
      const x = u.valToPos(u.data[0][at], "x", true), top = u.bbox.top, floor = top + u.bbox.height;
      u.ctx.beginPath();
      u.ctx.moveTo(x, Math.min(floor, to(low)));
      u.ctx.lineTo(x, Math.max(top, to(line.high[at])));
      for (const y of [to(low), to(line.high[at])]) {
        const edge = y < top ? top : y > floor ? floor : y, back = y === edge ? 0 : y < edge ? 2 * cap : -2 * cap;
        u.ctx.moveTo(x - cap, edge + back);
        u.ctx.lineTo(x, edge);
        u.ctx.lineTo(x + cap, edge + back);
      }
      u.ctx.stroke();
    });
    line.each?.forEach((values, at) => {
      const x = u.valToPos(u.data[0][at], "x", true);
      u.ctx.beginPath();
      for (const value of values) {
        u.ctx.moveTo(x + cap * 0.75, to(value));
        u.ctx.arc(x, to(value), cap * 0.75, 0, 2 * Math.PI);
      }
      u.ctx.stroke();
    });
    u.ctx.restore();
  });

  // Charts with the same sync name show the same time range; others begin at zero if their values come near it.
  const stretches = {};
  for (const spec of charts.filter((each) => each.sync)) {
    const times = spec.kind === "lines" ? [spec.xs[0], spec.xs[spec.xs.length - 1]] : spec.spans.flatMap((span) => [span[2], span[3]]);
    const [from, to] = stretches[spec.sync] || [Infinity, -Infinity];
    stretches[spec.sync] = [times.reduce((a, b) => Math.min(a, b), from), times.reduce((a, b) => Math.max(a, b), to)];
  }
  const across = (spec) => (u, least, most) => {
    const xs = u.data[0];
    if (least == null) return [0, 1];
    if (least !== xs[0] || most !== xs[xs.length - 1]) return [least, most];  // zoomed
    const [from, to] = stretches[spec.sync] || [least >= 0 && least <= most / 2 ? 0 : least - (most - least) * 0.02, most + (most - least) * 0.02];
    return from < to ? [from, to] : [from, from + 1];
  };
  // The plots of synchronised charts are aligned with each other, except on narrow screens.
  const aligned = (spec, width) => spec.sync && width >= 480;
  const SIDE = 60, LABEL = 20;
  const room = (_, values) => 20 + 7 * Math.max(2, ...(values || []).map((value) => String(value ?? "").length));
  const border = (line) => ["dashed", "until"].includes(line?.style) ? "dashed" : line?.style === "dots" ? "dotted" : BORDERS[again(line)];
  const markers = (spec) => ({ width: 3, dash: (_, number) => border(spec.series[number - 1]), fill: () => "transparent" });

  const cursor = (spec) => ({ drag: { x: true, y: false }, ...(spec.sync ? { sync: { key: spec.sync, scales: ["x", null] } } : {}) });

  // Without a cursor the legend has no values.
  const rest = (u) => u.root.classList.toggle("idle", u.cursor.idx == null);
  const idle = { ready: [rest], setCursor: [rest] };

  // The values of a series and of those that share its legend entry, without the extremes.
  const values = (spec, u, first, at) => {
    if (at == null) return "";
    const told = [u.data[first][at]];
    for (let number = first + 1; spec.series[number - 1]?.follows && spec.series[number - 1].style !== "shade"; number++) told.push(u.data[number][at]);
    const known = told.filter((value) => value != null);
    return known.length ? known.map((value, place) => shown(value, place === known.length - 1 ? spec.y[spec.series[first - 1].axis].unit : "")).join(" / ") : "–";
  };
  const interval = (line, at) => (line.low?.[at] == null ? "" : ` (${shown(line.low[at])} to ${shown(line.high[at])})`)
    + (line.each?.[at]?.length > 1 ? `: ${line.each[at].map((value) => shown(value)).join(" / ")}` : "");

  const drawLines = (spec, place, width) => {
    const series = spec.series.map((line) => {
      const dots = line.style === "dots", shade = line.style === "shade";
      return {
        class: line.follows ? "follows" : line.style, alpha: shade ? 0.25 : 1, label: line.label, scale: `y${line.axis}`, stroke: seriesColour(line), width: dots ? 0 : 1.5, spanGaps: true,
        ...(again(line) ? { dash: PATTERNS[again(line)] } : line.style === "dashed" ? { dash: [6, 4] } : {}), ...(dots ? { paths: () => null } : {}),
        ...(line.style === "step" ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
        ...(line.style === "until" ? { paths: uPlot.paths.stepped({ align: -1, extend: true }), dash: [6, 4] } : {}),
        points: { show: dots || line.style === "both", size: 5, fill: again(line) ? colour("card") : seriesColour(line) },
        value: (u, _, number, at) => values(spec, u, number, at) + interval(line, at) + (line.names?.[at] ? ` at ${line.names[at]}` : ""),
      };
    });
    const scales = { x: { time: false, ...(spec.x.log ? { distr: 3 } : { range: across(spec) }) } };
    const headroom = spec.regions?.length ? 1.16 : 1.05;
    // Whiskers may extend the scale by half at most; longer ones end in an arrow at the edge.
    const ends = (number, side, pick) => pick(0, ...spec.series.filter((line) => line.axis === number).flatMap((line) => line[side] || []).filter((value) => value != null));
    const linear = (number) => ({ range: (_, least, most) => {
      const low = Math.min(0, least ?? 0), high = most || 1, more = (high - low) / 2;
      return [Math.max(Math.min(low, ends(number, "low", Math.min)), low - more), Math.max(high, Math.min(ends(number, "high", Math.max), high + more)) * headroom];
    } });
    const powers = { distr: 3, range: (_, least, most) => [10 ** Math.floor(Math.log10(least || 0.1)), 10 ** Math.ceil(Math.log10(most || 1))] };
    spec.y.forEach((y, number) => { scales[`y${number}`] = y.log ? powers : linear(number); });
    const axes = spec.y.map((y, number) => axis(y, { scale: `y${number}`, side: number ? 1 : 3, size: aligned(spec, width) ? SIDE : room, ...(number ? { grid: { show: false } } : {}) }));
    const above = MARK * (spec.marks || []).filter((mark) => mark.at <= spec.xs[spec.xs.length - 1]).length;
    const padding = [above ? above + 8 : null, aligned(spec, width) && spec.y.length === 1 ? SIDE + LABEL : null, null, null];
    return new uPlot({
      padding, width, height: high(width) + above, scales, cursor: cursor(spec), legend: { markers: markers(spec) }, axes: [axis(spec.x, { size: 34 }), ...axes],
      series: [{ label: spec.x.label, value: (_, value) => value == null ? "" : shown(value, spec.x.unit) }, ...series],
      hooks: { ...painters({ drawClear: [fillRegions(spec.regions || [])], draw: [drawWhiskers(spec.series), drawMarks(spec.marks || []), nameRegions(spec.regions || [])] }), ...idle, setSeries: [(u, number, options) => {
        if (options.show != null && spec.series[number]?.follows) u.setSeries(number + 1, { show: options.show });
      }] },
    }, [spec.xs, ...spec.series.map((line) => spec.y[line.axis].log ? line.values.map((value) => value > 0 ? value : null) : line.values)], place);
  };

  const drawSpans = (spec, place, width) => {
    const rows = spec.rows.length;
    const one = rows === 1 ? 40 : Math.max(2, Math.min(22, (printing() ? 300 : 640) / rows));
    const [from, to] = stretches[spec.sync];
    // Nested spans are drawn over the outer one.
    const order = [...spec.spans].sort((a, b) => a[1] - b[1]);
    const told = make("div", "", place);
    told.className = "told";
    const paint = (u) => {
      for (const [row, kind, begin, end] of order) {
        const left = Math.max(u.bbox.left, u.valToPos(begin, "x", true));
        const right = Math.min(u.bbox.left + u.bbox.width, u.valToPos(end, "x", true));
        if (right < u.bbox.left || left > u.bbox.left + u.bbox.width) continue;
        const top = u.valToPos(row, "y", true), bottom = u.valToPos(row + 1, "y", true);
        u.ctx.fillStyle = spanColour(spec, kind);
        u.ctx.fillRect(left, top, Math.max(1, right - left), Math.max(1, (bottom - top) * (rows > 1 ? 0.86 : 1)));
      }
      if (!spec.named) return;
      Object.assign(u.ctx, { fillStyle: colour("soft"), font: `${12 * devicePixelRatio}px system-ui, sans-serif`, textAlign: "right", textBaseline: "middle" });
      spec.rows.forEach((name, row) => u.ctx.fillText(name, u.bbox.left - 8 * devicePixelRatio, u.valToPos(row + 0.43, "y", true)));
    };
    const tell = (u) => {
      const at = u.cursor.left < 0 ? null : u.posToVal(u.cursor.left, "x"), row = Math.floor(u.posToVal(u.cursor.top, "y"));
      const under = at == null ? [] : order.filter((span) => span[0] === (rows > 1 ? row : 0) && span[2] <= at && at <= span[3]);
      const span = under[under.length - 1];
      told.textContent = span ? `${spec.rows[span[0]]}: ${spec.kinds[span[1]]}, ${shown(span[2], "s")} to ${shown(span[3], "s")} (${shown(span[3] - span[2], "s")})` : "";
    };
    const plot = new uPlot({
      padding: [null, aligned(spec, width) ? SIDE + LABEL : null, null, null], width, height: rows * one + 76, legend: { show: false }, cursor: { ...cursor(spec), points: { show: false } },
      scales: { x: { time: false, range: across(spec) }, y: { range: () => [rows, 0] } },
      axes: [axis({ label: "time", unit: "s" }, { size: 34 }), axis({ label: rows > 1 && !spec.named ? "requests" : " " }, { size: aligned(spec, width) || spec.named ? SIDE : 30, splits: () => [], values: () => [] })],
      series: [{}, { scale: "y", paths: () => null, points: { show: false } }], hooks: { ...painters({ draw: [paint] }), setCursor: [tell] },
    }, [[from, to], [null, null]], place);
    const key = make("div", "", place);
    key.className = "key";
    spec.kinds.forEach((kind, number) => {
      const item = make("span", "", key);
      make("i", "", item).style.background = spanColour(spec, number);
      item.append(kind);
    });
    return plot;
  };

  const named = { queued: "c5", prefill: "c1", decode: "c0", preempted: "c3", "KV blocks": "c3", max_num_seqs: "c1", "token budget": "c4", unknown: "c5", deferral: "c7", "KV blocks + max_num_seqs": "c6", "KV blocks + token budget": "c0", host: "c7", model: "c2", compute: "c6", "memory bandwidth": "c0", "host or model": "c5", "SW power cap": "c1", "SW thermal slowdown": "c6", "HW power brake slowdown": "c7", "HW slowdown": "c4", "HW thermal slowdown": "c3" };
  const spanColour = (spec, kind) => colour(named[spec.kinds[kind]] || `c${kind % 8}`);

  const draw = (place, width) => {
    const spec = charts[Number(place.dataset.chart)];
    drawn.get(place)?.destroy();
    place.replaceChildren();
    place.plot = (spec.kind === "lines" ? drawLines : drawSpans)(spec, place, width || place.clientWidth);  // accessible from the console
    drawn.set(place, place.plot);
  };
  const visible = () => [...document.querySelectorAll(".plot")].filter((place) => !place.closest("details:not([open])"));
  // Closed parts are not printed: a sweep of many points would fill hundreds of pages.
  const drawAll = () => visible().forEach((place) => draw(place, printing() ? PAPER : 0));

  document.addEventListener("repaint", () => drawAll());  // when the theme changes, or for printing
  document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", () => {
    if (part.open) part.querySelectorAll(".plot").forEach((place) => drawn.has(place) || draw(place));
  }));

  let width = innerWidth, waiting = 0;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => drawAll(), 120);
  });
  drawAll();
  root.dataset.drawn = String(drawn.size);
})();
