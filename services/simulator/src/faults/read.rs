//! From what was written to a script: a TOML file with `[[fault]]` tables, or `KIND:key=value,…` from a flag.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};
use venues::coinbase::FRAME_BYTES_MAX;

use super::keys::Keys;
use super::{
    Connection, Corruption, Ending, Extent, Fault, FaultProblem, FaultScript, InvalidFaults, Kind, Refusing,
    Start,
};

/// The most faults in a script; each is asked for every ticker.
const FAULTS_MAX: usize = 1_000;
/// No fault begins later, lasts longer, or takes more of something.
const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
const NUMBER_MAX: u64 = 1_000_000_000;
/// The longest time by which something comes late.
const LATE_MAX: Duration = Duration::from_secs(600);
/// The most tickers that are mixed up or repeated.
const RANGE_MAX: u64 = 1_000;
const OVERSIZED_MAX: u64 = 64 * 1024 * 1024;

const MILLISECOND: Duration = Duration::from_millis(1);
const LASTING: RangeInclusive<Duration> = MILLISECOND..=DURATION_MAX;
const LATE: RangeInclusive<Duration> = MILLISECOND..=LATE_MAX;

/// What may say how much a fault hits: a time and a count, or one of them.
#[derive(Clone, Copy, PartialEq)]
enum Measure {
    Both,
    Time,
    /// Without a time it happens once.
    OnceOrTime,
    Once,
}

impl FaultScript {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its fault, key, value and what would be allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidFaults> {
        let problem = |found: &str, allowed: &str| {
            let (place, key) = ("the script of faults".to_owned(), "it".to_owned());
            InvalidFaults {
                problems: vec![FaultProblem { place, key, found: found.into(), allowed: allowed.into() }],
            }
        };
        let mut table: Table =
            text.parse().map_err(|error: toml::de::Error| problem(&format!("is no TOML: {error}"), ""))?;
        let faults = table.remove("fault").unwrap_or(Value::Array(Vec::new()));
        if let Some(key) = table.keys().next() {
            return Err(problem(&format!("has {key}"), "[[fault]] tables"));
        }
        let Value::Array(faults) = faults else {
            return Err(problem("has a fault that is no list", "[[fault]] tables"));
        };
        if faults.len() > FAULTS_MAX {
            return Err(problem(&format!("has {} faults", faults.len()), &format!("up to {FAULTS_MAX}")));
        }
        let mut script = Self::default();
        let mut problems = Vec::new();
        for (fault, number) in faults.into_iter().zip(1..) {
            let Value::Table(table) = fault else {
                return Err(problem("has a fault that is no table", "[[fault]] tables"));
            };
            problems.extend(script.add(number, table));
        }
        if problems.is_empty() { Ok(script) } else { Err(InvalidFaults { problems }) }
    }

    /// Adds the fault of a flag: its kind, and after a colon its keys, `drop:at=10s,count=20,products=BTC-USD+ETH-USD`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn add_flag(&mut self, flag: &str) -> Result<(), InvalidFaults> {
        let (kind, rest) = flag.split_once(':').unwrap_or((flag, ""));
        let mut table = Table::new();
        table.insert("kind".to_owned(), Value::String(kind.to_owned()));
        for pair in rest.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = match (key, value.parse::<i64>(), value) {
                ("products", ..) => {
                    Value::Array(value.split('+').map(|name| Value::String(name.to_owned())).collect())
                }
                (_, Ok(number), _) => Value::Integer(number),
                (.., "true") => Value::Boolean(true),
                (.., "false") => Value::Boolean(false),
                _ => Value::String(value.to_owned()),
            };
            table.insert(key.to_owned(), value);
        }
        let problems = self.add(self.faults.len() + 1, table);
        if problems.is_empty() { Ok(()) } else { Err(InvalidFaults { problems }) }
    }

    /// Checks it against what there is: the products, and whether sequences can be made anew.
    pub(crate) fn check(&self, products: &BTreeSet<String>, is_replay: bool) -> Result<(), InvalidFaults> {
        let mut problems = Vec::new();
        for fault in &self.faults {
            let mut complain = |key: &str, found: String, allowed: String| {
                problems.push(FaultProblem { place: fault.place.clone(), key: key.into(), found, allowed });
            };
            let unknown = fault.products.iter().flatten().find(|product| !products.contains(*product));
            if let Some(product) = unknown {
                let known: Vec<&str> = products.iter().map(String::as_str).take(20).collect();
                complain("products", format!("has {product}"), known.join(", "));
            }
            if is_replay && matches!(fault.kind, Kind::SequenceReset { .. }) {
                let allowed = "sequence_reset for generated markets only".to_owned();
                complain("kind", "is sequence_reset, and a recording is sent as it is".to_owned(), allowed);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(InvalidFaults { problems }) }
    }

    fn add(&mut self, number: usize, table: Table) -> Vec<FaultProblem> {
        let mut keys = Keys::new(format!("fault {number}"), table);
        if number > FAULTS_MAX {
            keys.complain("fault", "is one too many", &format!("up to {FAULTS_MAX}"));
            return keys.problems;
        }
        let Some((name, measure, read)) = kind(&mut keys) else {
            return keys.problems;
        };
        keys.rename(format!("fault {number} ({name})"));
        let kind = read(&mut keys);
        let extent = extent(&mut keys, measure);
        let (start, every, times) = schedule(&mut keys, extent);
        let name = keys.text("name").unwrap_or_else(|| name.to_owned());
        let products = keys.products();
        let connection = if hits_connections(&kind) { connection(&mut keys) } else { Connection::All };
        if matches!(kind, Kind::Refuse { .. }) && products.is_none() && keys.problems.is_empty() {
            keys.complain("products", "is missing", "the products to refuse");
        }
        let place = keys.place().to_owned();
        let problems = keys.finish();
        let name = name.into();
        self.faults.push(Fault { name, place, kind, start, every, times, extent, products, connection });
        problems
    }
}

type Read = fn(&mut Keys) -> Kind;

/// Each kind: its name, how its extent is told, and how its own keys are read.
const KINDS: [(&str, Measure, Read); 19] = [
    ("disconnect", Measure::OnceOrTime, |keys| {
        let words = [("close", Ending::Close), ("cut", Ending::Cut), ("reset", Ending::Reset)];
        Kind::Disconnect { how: keys.word("how", &words).unwrap_or(Ending::Close) }
    }),
    ("stall", Measure::Time, |keys| Kind::Stall { also_new: keys.flag("also_new") }),
    ("mute", Measure::Time, |keys| Kind::Mute { also_heartbeats: keys.flag("also_heartbeats") }),
    ("drop", Measure::Both, |keys| Kind::Drop { percent: percent(keys) }),
    ("duplicate", Measure::Both, |keys| Kind::Duplicate { percent: percent(keys) }),
    ("reorder", Measure::Both, |keys| Kind::Reorder {
        window: keys.size("window", 2..=RANGE_MAX).unwrap_or(2),
    }),
    ("repeat", Measure::Once, |keys| Kind::Repeat { last: keys.size("last", 1..=RANGE_MAX).unwrap_or(10) }),
    ("corrupt", Measure::Both, |keys| {
        let words = [
            ("cut", Corruption::Cut),
            ("garbage", Corruption::Garbage),
            ("binary", Corruption::Binary),
            ("number", Corruption::Number),
            ("crossed", Corruption::Crossed),
            ("unpriced", Corruption::Unpriced),
        ];
        let how = keys.word("how", &words).unwrap_or(Corruption::Cut);
        Kind::Corrupt { how, percent: percent(keys) }
    }),
    ("delay", Measure::Both, |keys| Kind::Delay { by: late(keys) }),
    ("sequence_reset", Measure::Once, |keys| Kind::SequenceReset {
        to: keys.number("to", 1..=u64::from(u32::MAX)).unwrap_or(1),
    }),
    ("refuse", Measure::Time, |keys| {
        let words = [("omit", Refusing::Omit), ("error", Refusing::Error)];
        Kind::Refuse { how: keys.word("how", &words).unwrap_or(Refusing::Omit) }
    }),
    ("error", Measure::Once, |keys| Kind::Error {
        message: keys.text("message").unwrap_or_else(|| "Internal error".to_owned()),
        reason: keys.text("reason").unwrap_or_else(|| "scripted".to_owned()),
    }),
    ("slow_accept", Measure::Both, |keys| Kind::SlowAccept { by: late(keys) }),
    ("oversized", Measure::Once, |keys| {
        // One byte more than any follower of the feed has to take.
        let bytes = keys.size("bytes", 1_024..=OVERSIZED_MAX);
        Kind::Oversized { bytes: bytes.unwrap_or(FRAME_BYTES_MAX + 1) }
    }),
    ("rest_429", Measure::Both, |_| Kind::RestTooMany),
    ("rest_500", Measure::Both, |_| Kind::RestFails),
    ("rest_garbage", Measure::Both, |_| Kind::RestGarbage),
    ("rest_slow", Measure::Both, |keys| Kind::RestSlow { by: late(keys) }),
    ("rest_gone", Measure::Both, |_| Kind::RestGone),
];

/// The kind that the fault names.
fn kind(keys: &mut Keys) -> Option<(&'static str, Measure, Read)> {
    let words = KINDS.map(|kind| (kind.0, kind));
    if !keys.has("kind") {
        let allowed: Vec<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
        keys.complain("kind", "is missing", &allowed.join(", "));
        return None;
    }
    keys.word("kind", &words)
}

fn percent(keys: &mut Keys) -> u64 {
    keys.number("percent", 1..=100).unwrap_or(100)
}

/// By how much something comes late; it has no default, because a delay of no length is none.
fn late(keys: &mut Keys) -> Duration {
    if !keys.has("by") {
        keys.complain("by", "is missing", "a time such as \"500ms\"");
    }
    keys.duration("by", &LATE).unwrap_or(MILLISECOND)
}

fn extent(keys: &mut Keys, measure: Measure) -> Extent {
    let length = if measure == Measure::Once { None } else { keys.duration("for", &LASTING) };
    let count = if measure == Measure::Both { keys.number("count", 1..=NUMBER_MAX) } else { None };
    match (length, count) {
        (Some(_), Some(_)) => {
            keys.complain("count", "stands beside for", "one of the two");
            Extent::Open
        }
        (Some(length), None) => Extent::For(length),
        (None, Some(count)) => Extent::Count(count),
        (None, None) if matches!(measure, Measure::Once | Measure::OnceOrTime) => Extent::Once,
        (None, None) => Extent::Open,
    }
}

fn schedule(keys: &mut Keys, extent: Extent) -> (Start, Option<Start>, Option<u64>) {
    let (start, every) = if keys.has("after_ticks") {
        if keys.has("at") {
            keys.complain("at", "stands beside after_ticks", "one of the two");
        }
        // Taken so that it is no unknown key on top.
        keys.duration("at", &(Duration::ZERO..=DURATION_MAX));
        let start = keys.number("after_ticks", 1..=NUMBER_MAX).unwrap_or(1);
        let every = keys.number("every_ticks", 1..=NUMBER_MAX);
        (Start::AfterTicks(start), every.map(Start::AfterTicks))
    } else {
        let start = keys.duration("at", &(Duration::ZERO..=DURATION_MAX)).unwrap_or_default();
        (Start::At(start), keys.duration("every", &LASTING).map(Start::At))
    };
    let times = keys.number("times", 1..=NUMBER_MAX);
    if times.is_some() && every.is_none() {
        keys.complain("times", "stands without every", "times with every or every_ticks");
    }
    if every.is_some() && extent == Extent::Open {
        keys.complain("every", "repeats what does not end", "every with for or count");
    }
    if let (Some(Start::At(every)), Extent::For(length)) = (every, extent)
        && every <= length
    {
        let found = format!("is \"{}\"", humantime::format_duration(every));
        keys.complain(
            "every",
            &found,
            &format!("more than for, which is \"{}\"", humantime::format_duration(length)),
        );
    }
    (start, every, times)
}

/// Whether it is told which of the connections it hits.
fn hits_connections(kind: &Kind) -> bool {
    match kind {
        Kind::Drop { .. }
        | Kind::Mute { .. }
        | Kind::Corrupt { .. }
        | Kind::Duplicate { .. }
        | Kind::Delay { .. }
        | Kind::Reorder { .. }
        | Kind::Disconnect { .. }
        | Kind::Stall { .. }
        | Kind::Repeat { .. }
        | Kind::Error { .. }
        | Kind::Oversized { .. } => true,
        Kind::SequenceReset { .. }
        | Kind::SlowAccept { .. }
        | Kind::Refuse { .. }
        | Kind::RestTooMany
        | Kind::RestFails
        | Kind::RestGarbage
        | Kind::RestSlow { .. }
        | Kind::RestGone => false,
    }
}

fn connection(keys: &mut Keys) -> Connection {
    let words = [("all", Connection::All), ("oldest", Connection::Oldest), ("newest", Connection::Newest)];
    keys.word("connection", &words).unwrap_or(Connection::All)
}

#[cfg(test)]
mod tests;
