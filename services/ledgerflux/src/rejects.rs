//! `ledgerflux rejects`: what was refused, for a person or a program, and a second chance for it.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail, ensure};
use bus::{Bus, FollowError, FollowFrom, Followed, StreamKind};
use domain::{FeedSession, RejectedTick, TickBatch, UnixNanos};

use crate::{
    args::{ListArgs, RejectsCommand, ResubmitArgs, ShowArgs},
    settings::Settings,
};

mod filter;
mod json;

use filter::Filter;

/// How long the broker may take to give the next message that it has.
const PATIENCE: Duration = Duration::from_secs(10);
/// The session of whatever is submitted again; one, so that the broker recognises the repetition.
const SESSION: &str = "resubmit-0";
/// How much of the detail a table shows.
const DETAIL_CHARS_MAX: usize = 100;

/// Runs one of the commands.
pub(crate) async fn run(settings: &Settings, command: RejectsCommand) -> anyhow::Result<()> {
    ensure!(
        settings.bus.nats.is_some(),
        "the rejects are in the broker: name it with --nats (those of `up` without --nats are in its memory and end with it; \
         its log tells of them)"
    );
    let bus = Bus::connect(&settings.bus).await?;
    // What it takes is what the streams were made for, whatever is configured here.
    let shards =
        bus.recorded_shards().await?.context("the streams do not say for how many shards they are")?;
    let bus = bus.join(&bus::Config { shards, ..settings.bus.clone() });
    match command {
        RejectsCommand::List(args) => list(&bus, args).await,
        RejectsCommand::Show(args) => show(&bus, &args).await,
        RejectsCommand::Resubmit(args) => resubmit(&bus, args).await,
    }
}

async fn list(bus: &Bus, args: ListArgs) -> anyhow::Result<()> {
    let filter = Filter::new(&args, UnixNanos::now())?;
    let limit = if args.all { usize::MAX } else { args.limit };
    let is_table = io::stdout().is_terminal();
    let mut reading = Reading::new(bus, args.after).await?;
    let (mut listed, mut last) = (0, 0);
    while listed < limit
        && let Some(Followed { stream_sequence: id, content: reject, .. }) = reading.next().await?
    {
        if !filter.takes(&reject) {
            continue;
        }
        if is_table && listed == 0 {
            say(&format!("{:>8}  {:<30}  {:<16}  {:<20}  DETAIL", "ID", "REFUSED", "REASON", "PRODUCT"))?;
        }
        say(&if is_table { row(id, &reject) } else { json::line(id, &reject).to_string() })?;
        (listed, last) = (listed + 1, id);
    }
    if is_table && listed == 0 {
        say("nothing was refused")?;
    }
    if is_table && listed == limit && reading.has_more() {
        say(&format!("more: --after {last}"))?;
    }
    Ok(())
}

fn row(id: u64, reject: &RejectedTick) -> String {
    let product = reject.instrument.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let detail: String = reject.detail.chars().take(DETAIL_CHARS_MAX).map(printable).collect();
    format!(
        "{id:>8}  {:<30}  {:<16}  {product:<20}  {detail}",
        reject.time.to_string(),
        reject.reason.as_str()
    )
}

/// What a stranger sent must not move the cursor.
pub(crate) fn printable(letter: char) -> char {
    if letter.is_control() { '\u{fffd}' } else { letter }
}

async fn show(bus: &Bus, args: &ShowArgs) -> anyhow::Result<()> {
    let reject = find(bus, args.id).await?;
    say(&serde_json::to_string_pretty(&json::whole(args.id, &reject)?)?)
}

async fn resubmit(bus: &Bus, args: ResubmitArgs) -> anyhow::Result<()> {
    ensure!(args.file.is_none() || args.ids.len() == 1, "--file corrects one reject: name one id");
    bus.check_streams().await?;
    let corrected = match &args.file {
        Some(file) => Some(read(file)?),
        None => None,
    };
    for id in args.ids {
        let reject = find(bus, id).await?;
        let batch = batch(&reject, corrected.as_deref()).with_context(|| format!("reject {id}"))?;
        let name = batch.instrument.clone();
        let trade_id = batch.ticks.first().and_then(domain::Tick::trade_id).unwrap_or_default();
        if args.dry_run {
            say(&format!("reject {id}: trade {trade_id} of {name} would be submitted"))?;
            continue;
        }
        // The same content again is the same message; a correction of the correction is another one.
        let mut content = DefaultHasher::new();
        format!("{:?}", batch.ticks).hash(&mut content);
        bus.publish_raw_fill(&batch, &format!("{}/{:x}", reject.identity, content.finish())).await?;
        say(&format!("reject {id}: trade {trade_id} of {name} is submitted"))?;
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => io::stdin().read_to_string(&mut text).map(drop),
        _ => std::fs::read_to_string(file).map(|read| text = read),
    };
    read.with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(text)
}

/// The tick as a batch for the normalizer: a trade that comes afterwards, without a place in the live sequence, which has long
/// gone on.
fn batch(reject: &RejectedTick, corrected: Option<&str>) -> anyhow::Result<TickBatch> {
    let mut tick = match corrected {
        Some(text) => json::read_tick(text)?,
        None => reject.tick.clone().context(
            "it could not be read as a tick: write one with --file (`rejects show` has the bytes as they came)",
        )?,
    };
    (tick.sequence, tick.run, tick.flags.backfilled) = (None, 0, true);
    // Told here rather than by another reject.
    domain::validate(&mut tick).map_err(|fault| anyhow!("{fault}: correct it with --file"))?;
    Ok(TickBatch {
        instrument: tick.instrument.clone(),
        ticks: vec![tick],
        session: FeedSession { id: SESSION.to_owned(), started: UnixNanos::now() },
        raw_sequence: None,
        normalised_at: None,
        heartbeat: None,
    })
}

async fn find(bus: &Bus, id: u64) -> anyhow::Result<RejectedTick> {
    let mut reading = Reading::new(bus, id.saturating_sub(1)).await?;
    match reading.next().await? {
        Some(found) if found.stream_sequence == id => Ok(found.content),
        _ => bail!("there is no reject {id}: `ledgerflux rejects list` shows those that are kept"),
    }
}

/// Reads `LF_REJECTS` up to where it ended at the start.
pub(crate) struct Reading {
    follower: bus::RejectFollower,
    end: u64,
    at: u64,
}

impl Reading {
    /// Begins after a message; 0: with the oldest there is.
    pub(crate) async fn new(bus: &Bus, after: u64) -> anyhow::Result<Self> {
        let state = bus.stream_state(StreamKind::Rejects).await?;
        let at = after.max(state.first_sequence.saturating_sub(1));
        let follower = bus.follow_rejects(FollowFrom::AfterSequence(at));
        Ok(Self { follower, end: state.last_sequence, at })
    }

    fn has_more(&self) -> bool {
        self.at < self.end
    }

    /// The next one that can be read.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Followed<RejectedTick>>> {
        while self.has_more() {
            let next = tokio::time::timeout(PATIENCE, self.follower.next()).await;
            match next.context("the broker gives no more rejects")? {
                Ok(followed) => {
                    self.at = followed.stream_sequence;
                    return Ok((self.at <= self.end).then_some(followed));
                }
                Err(FollowError::Gone { last, .. }) => self.at = last,
                Err(FollowError::Undecodable { content, .. }) => {
                    self.at = content.stream_sequence;
                    tracing::warn!(id = self.at, why = %content, "a reject cannot be read and is left out");
                }
                Err(error @ (FollowError::Restarted { .. } | FollowError::Broker(_))) => {
                    return Err(error.into());
                }
            }
        }
        Ok(None)
    }
}

/// One line to standard output. Whoever reads it may have seen enough.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}
