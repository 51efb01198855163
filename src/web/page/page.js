// Shows what the admin API says. Everything becomes text of an element: nothing of a record is ever read as markup.
"use strict";

const RECORDS_MAX = 200;
const FINDINGS_MAX = 100;
const APPLICATIONS_MAX = 20;
const POLL_MS = 3000;
const SEVERITY = { info: "quiet", low: "quiet", medium: "warn", high: "bad", critical: "bad" };
const STATE = { idle: "good", delivering: "good", waiting: "good", retrying: "warn", stuck: "bad", halted: "bad" };

const at = (id) => document.getElementById(id);
const clock = (instant) => (instant || "").replace("T", " ").slice(0, 23);
const count = (number) => (number ?? 0).toLocaleString("en");
const short = (id) => (id && id.length > 13 ? `${id.slice(0, 8)}…` : id || "");

function cell(value, kind) {
  const made = document.createElement("td");
  const { text, title } = typeof value === "object" && value !== null ? value : { text: value };
  made.textContent = text ?? "";
  if (title) made.title = title;
  if (kind) made.className = kind;
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function put(id, made, max) {
  at(id).prepend(made);
  while (at(id).children.length > max) at(id).lastElementChild.remove();
}

function place(location) {
  return location ? location.display || [location.city, location.country].filter(Boolean).join(", ") : "";
}

function what(record) {
  const { event, alarm, operator, replay, incident } = record;
  if (alarm) return `${alarm.name} ${alarm.state}: ${alarm.message}`;
  if (operator) return [operator.action, operator.subject, operator.detail].filter(Boolean).join(" ");
  if (replay) return `the id of ${replay.of} again, with another body`;
  if (incident) return incident.id || "";
  const findings = (record.findings || []).map((finding) => finding.name);
  return event ? [event.type, event.outcome, ...findings].join(" · ") : "";
}

function show(record) {
  const event = record.event || {};
  const id = (value) => ({ text: short(value), title: value });
  const received = { text: clock(record.received_at), title: record.received_at };
  const found = (record.findings || []).map((finding) => SEVERITY[finding.severity]);
  const worst = ["bad", "warn", "quiet"].find((kind) => found.includes(kind));
  put("records", row(
    cell(received), cell(record.seq, "n"), cell(record.kind, record.kind === "alarm" ? "warn" : "quiet"),
    cell(id(event.user_id)), cell(id(event.session_id)), cell(event.ip), cell(place(event.location)),
    cell(what(record), worst),
  ), RECORDS_MAX);
  for (const finding of record.findings || []) {
    put("findings", row(
      cell(received), cell(record.seq, "n"), cell(finding.severity, SEVERITY[finding.severity]),
      cell({ text: `${finding.rule} ${finding.name}` }), cell(id(event.user_id)), cell(finding.reason),
    ), FINDINGS_MAX);
  }
  at("node").textContent = record.node;
  at("journal").textContent = record.journal;
}

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function poll() {
  const [sinks, alarms, { applications }] =
    await Promise.all([ask("/api/sinks"), ask("/api/alarms"), ask("/api/applications")]);
  const mode = (once) => (once === undefined ? "not known yet" : once ? "one-time" : "reusable");
  at("applications").replaceChildren(...applications.slice(0, APPLICATIONS_MAX).map((one) => row(
    cell({ text: short(one.application_id), title: one.application_id }),
    cell({ text: short(one.tenant_id), title: one.tenant_id }), cell(count(one.refreshes), "n"),
    cell(`${(one.coverage * 100).toFixed(1)} %`, one.coverage < 0.9 ? "n warn" : "n"),
    cell(mode(one.one_time)), cell(one.back_end ? "yes" : "no"),
  )));
  at("sinks").replaceChildren(...sinks.map((sink) => row(
    cell(sink.name), cell(sink.state, STATE[sink.state]), cell(count(sink.recorded), "n"),
    cell(count(sink.delivered), "n"), cell(count(sink.skipped), "n"), cell(count(sink.parked), sink.parked ? "n bad" : "n"),
    cell(count(sink.dropped), "n"), cell(count(sink.damaged), "n"), cell(count(sink.pending), "n"),
    cell(`${sink.lag_seconds.toFixed(1)} s`, "n"), cell(sink.last_error),
  )));
  at("alarms").replaceChildren(...alarms.map((alarm) => {
    const made = document.createElement("li");
    made.textContent = `${[alarm.name, alarm.subject].filter(Boolean).join(" ")}: ${alarm.message}`;
    return made;
  }));
}

// What came since the last second, drawn at once: a busy service must not freeze the page.
let waiting = [];
let seconds = [];

function draw(last) {
  seconds = [...seconds.slice(-9), waiting.length];
  at("rate").textContent = (seconds.reduce((sum, n) => sum + n, 0) / seconds.length).toFixed(1);
  if (last) at("synced").textContent = count(last);
  if (at("pause").checked) {
    waiting = waiting.slice(-RECORDS_MAX);
    return;
  }
  waiting.slice(-RECORDS_MAX).forEach(show);
  waiting = [];
}

function link(text, kind) {
  at("link").textContent = text;
  at("link").className = `pill ${kind}`;
}

async function start() {
  const { synced } = await ask("/api/records?limit=1");
  const from = Math.max(1, synced - RECORDS_MAX + 1);
  const { records, next } = await ask(`/api/records?from=${from}&limit=${RECORDS_MAX}`);
  records.forEach(show);
  let last = synced;
  const stream = new EventSource(`/api/stream?from=${next}`);
  stream.onopen = () => link("live", "good");
  stream.onerror = () => link("no connection", "bad");
  stream.onmessage = (message) => {
    waiting.push(JSON.parse(message.data));
    last = Number(message.lastEventId);
  };
  setInterval(() => draw(last), 1000);
  const again = () => poll().catch(() => link("no connection", "bad")).finally(() => setTimeout(again, POLL_MS));
  again();
}

const begin = () => start().catch(() => {
  link("no connection", "bad");
  setTimeout(begin, POLL_MS);
});
begin();
