//! What a run found, for people and for programs, in `target/faults/`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    check::{Line, Sums},
    live::median,
    options::Options,
};

/// What came of one scenario.
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) fault: String,
    pub(crate) seconds: f64,
    pub(crate) lines: Vec<Line>,
    pub(crate) sums: Sums,
    pub(crate) recoveries: Vec<(String, Vec<Duration>)>,
}

impl Outcome {
    pub(crate) fn ok(&self) -> bool {
        self.lines.iter().all(|line| line.ok)
    }

    fn times(&self) -> Vec<Duration> {
        self.recoveries.iter().flat_map(|(_, times)| times).copied().collect()
    }

    fn json(&self) -> Value {
        let seconds = |time: Duration| (time.as_secs_f64() * 1_000.0).round() / 1_000.0;
        let recoveries: Vec<Value> = self
            .recoveries
            .iter()
            .map(|(fault, times)| {
                let worst = times.iter().max().copied().unwrap_or_default();
                json!({ "fault": fault, "times": times.len(), "median_seconds": seconds(median(times)),
                        "worst_seconds": seconds(worst) })
            })
            .collect();
        let lines: Vec<Value> = self
            .lines
            .iter()
            .map(|line| json!({ "check": line.check, "ok": line.ok, "told": line.told }))
            .collect();
        let sums = &self.sums;
        json!({
            "scenario": self.name, "fault": self.fault, "ok": self.ok(), "seconds": self.seconds.round(),
            "sent": sums.sent, "stored": sums.stored, "rejected": sums.rejected, "in_gaps": sums.in_gaps,
            "not_accepted": sums.not_accepted, "duplicated": sums.duplicates, "recoveries": recoveries,
            "checks": lines,
        })
    }
}

/// Where a run leaves what it found.
pub(crate) fn directory() -> PathBuf {
    let directory = testkit::workspace_root().join("target/faults");
    std::fs::create_dir_all(&directory).expect("a directory for the report");
    directory
}

/// Writes `<name>.json` and `<name>.md`.
pub(crate) fn write(name: &str, options: &Options, outcomes: &[Outcome]) {
    let json = json!({
        "seed": options.seed, "ticks_per_second": options.rate, "products": options.products,
        "shards": options.shards, "optimised": !cfg!(debug_assertions),
        "scenarios": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&json).expect("JSON");
    std::fs::write(directory().join(format!("{name}.json")), text).expect("the report is written");
    std::fs::write(directory().join(format!("{name}.md")), markdown(options, outcomes))
        .expect("the report is written");
}

fn markdown(options: &Options, outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "# Faults, seed {}\n\n{} ticks/s over {} products, {} shards, {} build. Times are seconds from the end of the \
         outage until ticks came out at every exit again.\n\n| scenario | | sent | stored | rejected | in gaps | \
         in no gap | outages | median | worst |\n|---|---|---|---|---|---|---|---|---|---|\n",
        options.seed,
        options.rate,
        options.products,
        options.shards,
        if cfg!(debug_assertions) { "debug" } else { "optimised" },
    );
    for outcome in outcomes {
        let (sums, times) = (&outcome.sums, outcome.times());
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| `{}` {} | {} | {} | {} | {} | {} | {} | {} | {:.2} | {:.2} |",
            outcome.name,
            outcome.fault,
            if outcome.ok() { "holds" } else { "**fails**" },
            sums.sent,
            sums.stored,
            sums.rejected,
            sums.in_gaps,
            sums.not_accepted,
            times.len(),
            median(&times).as_secs_f64(),
            times.iter().max().copied().unwrap_or_default().as_secs_f64(),
        );
    }
    for outcome in outcomes.iter().filter(|outcome| !outcome.ok()) {
        let _ = writeln!(text, "\n## {}\n", outcome.name);
        for line in outcome.lines.iter().filter(|line| !line.ok) {
            let _ = writeln!(text, "- **{}**: {}", line.check, line.told);
        }
    }
    text
}
