//! The table on a terminal, which is left as it was found.

use std::{
    io::{self, Write as _, stdout},
    pin::pin,
    time::Duration,
};

use anyhow::Context as _;
use crossterm::{
    cursor,
    event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers},
    execute, queue, terminal,
};
use domain::UnixNanos;
use futures::{StreamExt as _, stream};
use ledgerflux_client::Timestamp;
use runtime::Shutdown;

use super::{
    Feed, Happening,
    market::Market,
    table::{self, View},
};
use crate::args::WatchArgs;

/// The most often it is drawn, whatever the rate of updates.
const FRAME: Duration = Duration::from_millis(100);

/// Shows the feed until the person, the count or a signal ends it.
pub(super) async fn run(mut feed: Feed, args: &WatchArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    // Whether the server can be reached is said on the plain terminal.
    let Some(first) = shutdown.run_until(feed.next()).await else { return Ok(()) };
    let first = first?;
    let screen = Screen::open().context("the terminal cannot be drawn on")?;
    let mut market = Market::default();
    let mut left = args.count.map(u64::from);
    market.take(first, time());
    // A stream keeps an attempt to connect that is under way while keys and frames are served.
    let mut happenings = pin!(stream::unfold(feed, |mut feed| async move {
        let happening = feed.next().await;
        Some((happening, feed))
    }));
    let mut keys = EventStream::new();
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut scrolled, mut frame) = (0_usize, Vec::new());
    while left != Some(0) {
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            key = keys.next() => match key.transpose()?.map(|event| asked(&event)) {
                Some(Some(Asked::Quit)) | None => break,
                Some(Some(Asked::Scroll(by))) => scrolled = scrolled.saturating_add_signed(by),
                // A terminal keeps what it likes of a screen that has changed its size.
                Some(Some(Asked::Redraw)) => frame.clear(),
                Some(None) => {}
            },
            _ = frames.tick() => {
                let view = screen.view(&mut scrolled, market.rows.len())?;
                let lines = table::lines(&market, &args.server, UnixNanos::now(), view);
                if lines != frame {
                    draw(&lines)?;
                    frame = lines;
                }
            }
            happening = happenings.next() => {
                let Some(happening) = happening else { break };
                let happening = happening?;
                if matches!(happening, Happening::Update(_)) {
                    left = left.map(|left| left - 1);
                }
                market.take(happening, time());
            }
        }
    }
    Ok(())
}

enum Asked {
    Quit,
    Scroll(isize),
    Redraw,
}

fn asked(event: &Event) -> Option<Asked> {
    let key = match event {
        Event::Key(key) => key,
        Event::Resize(..) => return Some(Asked::Redraw),
        _ => return None,
    };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('q') | KeyCode::Esc => Asked::Quit,
        // In raw mode Ctrl-C is a key like any other.
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Asked::Quit,
        KeyCode::Up | KeyCode::Char('k') => Asked::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Asked::Scroll(1),
        KeyCode::PageUp => Asked::Scroll(-10),
        KeyCode::PageDown => Asked::Scroll(10),
        KeyCode::Home => Asked::Scroll(isize::MIN),
        KeyCode::End => Asked::Scroll(isize::MAX),
        _ => return None,
    })
}

/// One write, so that no half of a frame is seen.
fn draw(lines: &[String]) -> io::Result<()> {
    let mut frame = Vec::new();
    queue!(frame, terminal::BeginSynchronizedUpdate, cursor::MoveTo(0, 0))?;
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            frame.extend(b"\r\n");
        }
        frame.extend(line.as_bytes());
        queue!(frame, terminal::Clear(terminal::ClearType::UntilNewLine))?;
    }
    queue!(frame, terminal::Clear(terminal::ClearType::FromCursorDown), terminal::EndSynchronizedUpdate)?;
    let mut out = stdout().lock();
    out.write_all(&frame)?;
    out.flush()
}

/// The terminal while it is ours. Dropping it gives it back, however it ends.
struct Screen {
    colours: bool,
}

impl Screen {
    fn open() -> io::Result<Self> {
        let screen = Self { colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) };
        terminal::enable_raw_mode()?;
        execute!(stdout(), terminal::EnterAlternateScreen, terminal::DisableLineWrap, cursor::Hide)?;
        Ok(screen)
    }

    /// The size now; what is scrolled stays within what there is.
    fn view(&self, scrolled: &mut usize, products: usize) -> io::Result<View> {
        let (width, height) = terminal::size()?;
        let (width, height) = (usize::from(width), usize::from(height));
        let view = View { width, height, scrolled: 0, colours: self.colours };
        *scrolled = (*scrolled).min(products.saturating_sub(view.rows()));
        Ok(View { scrolled: *scrolled, ..view })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nothing left to tell it to when the terminal itself is gone.
        let _ = execute!(stdout(), cursor::Show, terminal::EnableLineWrap, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

fn time() -> Timestamp {
    proto::timestamp(domain::UnixNanos::now())
}
