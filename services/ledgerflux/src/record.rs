//! `ledgerflux record`: the feed as it comes, frame by frame, into files that a replay reads.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use domain::FeedSession;
use ingestor::Heard;
use runtime::{Readiness, RoleContext, Shutdown, TaskSet, tasks::OnFailure};
use simulator::Mark;
use tokio::{sync::mpsc, time::MissedTickBehavior};

use crate::{args::RecordArgs, exchange::Exchange, settings::Settings};

mod files;
mod tally;

use files::{Files, Head};
use tally::Tally;

/// How much may wait to be written; with frames of at most 8 MiB that makes 128 MiB. Beyond it the sockets are not read.
const HEARD_MAX: usize = 16;
/// What is lost at most when the process is killed.
const FLUSH_EVERY: Duration = Duration::from_secs(2);
/// How often a terminal is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long the connections may take to close.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// Records until a signal comes.
pub(crate) async fn run(settings: &Settings, args: RecordArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::from_signals().context("signals cannot be handled")?;
    let context = RoleContext::new(Readiness::new(), shutdown.clone());
    let exchange = Exchange::prepare(&settings.feed).await?;
    println!("{}", exchange.note);
    let mut tasks = TaskSet::new(shutdown.clone());
    let config = exchange.start(&settings.feed, false, &mut tasks, &context);
    let head = Head {
        feed: config.url.clone(),
        products: config.products.iter().map(ToString::to_string).collect(),
        channels: config.channels.clone(),
    };
    let files = Files::create(args.out, args.rotate_size, args.rotate_every, head)?;
    let mut recording = Recording { files, tally: Tally::default(), started: Instant::now() };

    let (sender, heard) = mpsc::channel(HEARD_MAX);
    tasks.spawn("feed", OnFailure::StopProcess, ingestor::record(config, sender, context));
    let recorded = recording.work(heard).await;
    // Without a signal, something failed: the rest is to end as well.
    shutdown.request();
    let ended = tasks.join(DRAIN_MAX).await;
    println!("{}", recording.summary());
    recorded?;
    Ok(ended?)
}

struct Recording {
    files: Files,
    tally: Tally,
    started: Instant,
}

impl Recording {
    /// Writes what comes until nothing more can come.
    async fn work(&mut self, mut heard: mpsc::Receiver<Heard>) -> anyhow::Result<()> {
        let mut flushes = tokio::time::interval(FLUSH_EVERY);
        let mut tells = tokio::time::interval(TELL_EVERY);
        for interval in [&mut flushes, &mut tells] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval.reset();
        }
        let is_terminal = io::stdout().is_terminal();
        loop {
            tokio::select! {
                next = heard.recv() => match next {
                    Some(heard) => self.take(heard)?,
                    None => return self.files.close(),
                },
                _ = flushes.tick() => self.files.flush()?,
                _ = tells.tick(), if is_terminal => println!("{}", self.progress()),
            }
        }
    }

    fn take(&mut self, heard: Heard) -> anyhow::Result<()> {
        self.tally.take(&heard);
        match heard {
            Heard::Opened { connection, session } => {
                let FeedSession { id, started } = session;
                self.files.write(&Mark::Opened { connection, time: started, session: id }, None)
            }
            Heard::Frame { connection, received, bytes, is_binary } => {
                self.files.write(&Mark::frame(connection, received, &bytes, is_binary), Some(&bytes))
            }
            Heard::Closed { connection, time, why } => {
                self.files.write(&Mark::Closed { connection, time, why }, None)
            }
            Heard::Tick { .. } | Heard::Overdue { .. } => Ok(()),
        }
    }

    fn progress(&self) -> String {
        let (tally, files) = (&self.tally, &self.files);
        format!(
            "{}  {} frames, {} ticks, {} missing trades, {} bytes in {} files",
            humantime::format_duration(Duration::from_secs(self.started.elapsed().as_secs())),
            tally.frames(),
            tally.ticks(),
            tally.missing(),
            files.size_bytes(),
            files.count(),
        )
    }

    fn summary(&self) -> String {
        format!("recorded in {}\n{}{}", self.progress(), self.tally, self.files)
    }
}
