// Verifies certificates of erasures from docs/reference/certificate.md alone. It shares no code
// with the program, and has no dependencies: `node verify.mjs --public_key KEY.pem FILE…` prints a
// line for each file, and ends with 1 where one is refused; `--cases FILE.jsonl.gz` instead of files
// prints a JSON line for each case.

import { createHash, createPublicKey, verify as verifySignature } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";

const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
const DEPTH = 32;
const SAFE_INTEGER = /^-?(?:0|[1-9][0-9]*)$/;

class Refused extends Error {
  constructor(step, why) {
    super(why);
    this.step = step;
  }
}

// --- RFC 8785 ---

function canonical(value) {
  if (typeof value === "number") return canonicalNumber(value);
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new Error("a string has a lone surrogate");
    return JSON.stringify(value);
  }
  if (value === null || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  const names = Object.keys(value).sort(); // by UTF-16 code units
  return `{${names.map((name) => `${canonical(name)}:${canonical(value[name])}`).join(",")}}`;
}

function canonicalNumber(value) {
  if (!Number.isFinite(value)) throw new Error("a number is beyond doubles");
  const text = JSON.stringify(value);
  if (SAFE_INTEGER.test(text) && !Number.isSafeInteger(value)) {
    throw new Error("an integer is beyond 2^53 - 1");
  }
  return text;
}

function depthOf(value) {
  let [depth, level] = [0, [value]];
  for (;;) {
    level = level.filter((each) => typeof each === "object" && each !== null);
    if (level.length === 0) return depth;
    depth += 1;
    level = level.flatMap((each) => Object.values(each));
  }
}

function parseCanonical(bytes) {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  const value = JSON.parse(text);
  const depth = depthOf(value);
  if (depth > DEPTH) throw new Error(`${depth} objects and lists are within one another`);
  if (canonical(value) !== text) throw new Error("it is not the canonical encoding");
  return value;
}

// --- the shapes of values: each check gets a value and its path, and throws ---

function must(holds, path, what) {
  if (!holds) throw new Error(`${path || "the whole"} is not ${what}`);
}

const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const text = (value, path) => must(typeof value === "string", path, "a text");
const bool = (value, path) => must(typeof value === "boolean", path, "true or false");
const integer = (value, path) => must(Number.isSafeInteger(value), path, "an integer");
const count = (value, path) => must(Number.isSafeInteger(value) && value >= 0, path, "a count");
const free = (value, path) => must(isObject(value), path, "an object");
const hash = (value, path) =>
  must(typeof value === "string" && /^[0-9a-f]{64}$/.test(value), path, "a hash");
const oneOf = (...allowed) => (value, path) =>
  must(allowed.includes(value), path, `one of ${allowed.join(", ")}`);
const orNull = (check) => (value, path) => value === null || check(value, path);

function moment(value, path) {
  const parts = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.\d{6}Z$/.exec(value);
  must(typeof value === "string" && parts !== null, path, "a moment");
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number);
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days = [31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  const ofCalendar = year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1];
  must(ofCalendar && hour < 24 && minute < 60 && second < 60, path, "a moment of the calendar");
}

const list = (check) => (value, path) => {
  must(Array.isArray(value), path, "a list");
  value.forEach((item, i) => check(item, `${path}[${i}]`));
};

// keysOf: the texts by which an item is ordered, the first one first
const set = (check, keysOf) => (value, path) => {
  list(check)(value, path);
  const keys = value.map((item) => keysOf(item).map((key) => Buffer.from(key)));
  for (let i = 1; i < keys.length; i += 1) {
    const differences = keys[i].map((key, part) => Buffer.compare(keys[i - 1][part], key));
    must((differences.find((each) => each !== 0) ?? 0) < 0, path, "in order, each item once");
  }
};

const object = (fields, optional = {}) => (value, path) => {
  must(isObject(value), path, "an object");
  for (const name of Object.keys(value)) {
    const known = Object.hasOwn(fields, name) || Object.hasOwn(optional, name);
    must(known, `${path}.${name}`, "a field of this object");
  }
  for (const [name, check] of Object.entries(fields)) {
    must(Object.hasOwn(value, name), `${path}.${name}`, "there");
    check(value[name], `${path}.${name}`);
  }
  for (const [name, check] of Object.entries(optional)) {
    if (Object.hasOwn(value, name)) check(value[name], `${path}.${name}`);
  }
};

// --- the statement ---

const target = object({
  what: oneOf("record", "subject"),
  hash,
  outcome: oneOf("removed", "already", "unknown"),
});

const FIELDS = {
  request: object({ id: text, received: moment, due: moment, extended: orNull(moment) }),
  deadline: object({ due: moment, met: bool }),
  erased: object({
    targets: set(target, (each) => [each.what, each.hash, each.outcome]),
    records: set(hash, (each) => [each]),
  }),
  state: object({ before: hash, after: hash }),
  constituents: object({
    rebuilt: set(text, (each) => [each]),
    reused: count,
    reused_digest: text,
  }),
  reclustered: bool,
  passes: count,
  purged: object({ files: count }),
  scan: free,
  transient: list(text),
  backups: list(text),
  execution: object({ engine: text, database: text }),
  code: object({ version: text, sha256: text }),
  configuration: free,
  backbone: text,
  seed: integer,
  numerics: set(free, (each) => [canonical(each)]),
  times: object({
    received: moment,
    planned: orNull(moment),
    training: orNull(moment),
    published: moment,
    purged: moment,
  }),
  ledger: object({ seq: integer, hash: text }),
};

const CHOICE = { choice: object({ seen: count, of: count }) };

const FINDING_ORDER = ["place", "trace", "file", "accepted", "reason"];
const finding = object({ place: text, trace: text, file: text, accepted: moment, reason: hash });
const findings = set(finding, (each) => FINDING_ORDER.map((name) => each[name]));

function exceptions(value, path) {
  findings(value, path);
  must(value.length > 0, path, "absent where it is empty");
}

// By the type of the predicate: the name of the subject's digest, the fields, the optional fields.
const VERSIONS = new Map([
  ["urn:lmeraser-ray:erasure:1", { digest: "sha256", fields: FIELDS, optional: CHOICE }],
  [
    "urn:lmeraser-ray:erasure:2",
    { digest: "hmac-sha256", fields: FIELDS, optional: { ...CHOICE, exceptions } },
  ],
]);

function checkStatement(whole) {
  must(isObject(whole), "", "an object");
  const version = VERSIONS.get(whole.predicateType);
  must(version !== undefined, "predicateType", "of a known version");
  object({
    _type: oneOf(STATEMENT_TYPE),
    predicateType: text,
    subject: list(object({
      name: oneOf("workspace"),
      digest: object({ [version.digest]: hash }),
    })),
    predicate: object(version.fields, version.optional),
  })(whole, "");
  const { subject, predicate } = whole;
  must(subject.length === 1, "subject", "one subject");
  must(subject[0].digest[version.digest] === predicate.state.after, "subject", "the state after");
  const due = predicate.request.extended ?? predicate.request.due;
  must(predicate.deadline.due === due, "deadline.due", "that of the request");
  must(predicate.deadline.met === (predicate.times.purged <= due), "deadline.met", "true to times");
}

// --- the envelope ---

function decodeBase64(coded, path) {
  const bytes = Buffer.from(coded, "base64");
  must(bytes.toString("base64") === coded, path, "the one base64 of its bytes");
  return bytes;
}

function readEnvelope(bytes) {
  const envelope = parseCanonical(bytes);
  object({
    payload: text,
    payloadType: text,
    signatures: list(object({ keyid: text, sig: text })),
  })(envelope, "");
  must(envelope.signatures.length === 1, "signatures", "one signature");
  const [{ keyid, sig }] = envelope.signatures;
  const payload = decodeBase64(envelope.payload, "payload");
  return { payload, type: envelope.payloadType, keyid, signature: decodeBase64(sig, "sig") };
}

function frame(type, payload) {
  const name = Buffer.from(type);
  const head = `DSSEv1 ${name.length} ${type} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

function step(name, act) {
  try {
    return act();
  } catch (error) {
    throw new Refused(name, error.message);
  }
}

// The statement of a certificate. keys: a Map from ids to public keys. Throws `Refused`.
export function verifyCertificate(bytes, keys) {
  const { payload, type, keyid, signature } = step("encoding", () => readEnvelope(bytes));
  step("type", () => must(type === PAYLOAD_TYPE, "payloadType", PAYLOAD_TYPE));
  step("key", () => must(keys.has(keyid), "keyid", "the id of a key at hand"));
  step("signature", () => {
    const good = verifySignature(null, frame(type, payload), keys.get(keyid), signature);
    must(signature.length === 64 && good, "sig", "the key's signature over these bytes");
  });
  return step("statement", () => {
    const whole = parseCanonical(payload);
    checkStatement(whole);
    return whole;
  });
}

// --- the command ---

function readKey(path) {
  const key = createPublicKey(readFileSync(path));
  if (key.asymmetricKeyType !== "ed25519") throw new Error(`${path} is no Ed25519 key`);
  const der = key.export({ type: "spki", format: "der" });
  return [createHash("sha256").update(der).digest("hex"), key];
}

function verdict(bytes, keys) {
  try {
    verifyCertificate(bytes, keys);
    return { verdict: "good" };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { verdict: error.step, why: error.message };
  }
}

function readCases(path) {
  const lines = gunzipSync(readFileSync(path)).toString().split("\n").filter(Boolean);
  return lines.map((line) => {
    const { name, text: plain, base64 } = JSON.parse(line);
    return [name, plain === undefined ? Buffer.from(base64, "base64") : Buffer.from(plain)];
  });
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { public_key: { type: "string", multiple: true }, cases: { type: "string" } },
});
const known = new Map((values.public_key ?? []).map(readKey));
if (values.cases) {
  for (const [name, bytes] of readCases(values.cases)) {
    console.log(JSON.stringify({ name, ...verdict(bytes, known) }));
  }
}
for (const path of positionals) {
  const found = verdict(readFileSync(path), known);
  console.log(`${path}: ${found.verdict === "good" ? "good" : `${found.verdict}: ${found.why}`}`);
  if (found.verdict !== "good") process.exitCode = 1;
}
