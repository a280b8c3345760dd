//! The table as text, for a screen of any size.

use crossterm::style::{Color, Stylize as _};
use domain::{Decimal, UnixNanos};
use ledgerflux_client::Timestamp;

use super::market::{Connection, Market, Row};

/// Name, width, and from which width of the screen on there is room for it.
const COLUMNS: [(&str, usize, usize); 9] = [
    ("PRODUCT", 12, 0),
    ("PRICE", 14, 0),
    ("24 H", 9, 0),
    ("BID", 14, 68),
    ("ASK", 14, 68),
    ("SPREAD", 11, 80),
    ("VOLUME 24 H", 18, 110),
    ("AGE", 8, 45),
    ("FEED", 7, 52),
];
const NAME: &str = "LedgerFlux  ";
/// How many lines are no rows: title, heading, one empty, events, keys.
const EVENTS_SHOWN: usize = 4;
const OTHER_LINES: usize = 4 + EVENTS_SHOWN;

/// How it is to be shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) width: usize,
    pub(super) height: usize,
    /// How many rows are above the first one that is shown.
    pub(super) scrolled: usize,
    pub(super) colours: bool,
}

impl View {
    /// How many products fit.
    pub(super) fn rows(&self) -> usize {
        self.height.saturating_sub(OTHER_LINES).max(1)
    }
}

/// At most `view.height` lines, each at most `view.width` wide.
pub(super) fn lines(market: &Market, server: &str, now: UnixNanos, view: View) -> Vec<String> {
    let (state, colour) = match &market.connection {
        Connection::Connecting => ("connecting".to_owned(), Color::Yellow),
        Connection::Live => ("live".to_owned(), Color::Green),
        Connection::Lost(reason) => (format!("disconnected: {reason}"), Color::Red),
    };
    let skipped = match market.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} skipped for newer ones"),
    };
    let room = view.width.saturating_sub(NAME.len());
    let state = cut(&state, room);
    let room = room.saturating_sub(state.chars().count());
    let rest = cut(&format!("  {server}  {} updates{skipped}", market.updates), room);
    let mut lines = vec![
        format!("{NAME}{}{rest}", paint(&state, colour, view)),
        dim(&joined(COLUMNS.map(|(name, ..)| name.to_owned()), view, |_, text| text), view),
    ];
    let rows = market.rows.iter().skip(view.scrolled).take(view.rows());
    lines.extend(rows.map(|(product, row)| line(product, row, now, view)));
    if market.rows.is_empty() {
        lines.push(dim("no price has arrived yet", view));
    }
    lines.push(String::new());
    let events = market.events.len().saturating_sub(EVENTS_SHOWN);
    for (time, text) in market.events.iter().skip(events) {
        lines.push(dim(&cut(&format!("{}  {text}", clock(time)), view.width), view));
    }
    let hidden = market.rows.len().saturating_sub(view.rows());
    let keys = if hidden > 0 { "q quits, the arrow keys scroll" } else { "q quits" };
    lines.push(dim(&cut(keys, view.width), view));
    lines
}

fn line(product: &str, row: &Row, now: UnixNanos, view: View) -> String {
    let text = |text: Option<&String>| text.cloned().unwrap_or_else(|| "–".into());
    let change = row.change_percent();
    let cells = [
        product.to_owned(),
        text(row.price.as_ref()),
        change.map_or_else(|| "–".into(), |change| format!("{change:+.2} %")),
        text(row.bid.as_ref()),
        text(row.ask.as_ref()),
        row.spread().map_or_else(|| "–".into(), |spread| spread.to_string()),
        text(row.volume.as_ref()),
        row.event_time.as_ref().map_or_else(|| "–".into(), |time| age(time, now)),
        if row.stale { "stale".into() } else { "live".into() },
    ];
    joined(cells, view, |column, text| match column {
        1 => match row.trend {
            Some(true) => paint(&text, Color::Green, view),
            Some(false) => paint(&text, Color::Red, view),
            None => text,
        },
        2 => match change {
            Some(change) if change > Decimal::ZERO => paint(&text, Color::Green, view),
            Some(change) if change < Decimal::ZERO => paint(&text, Color::Red, view),
            _ => text,
        },
        8 if row.stale => paint(&text, Color::Red, view),
        _ => text,
    })
}

/// The cells that there is room for, the name to the left, numbers to the right. A number is never cut: it takes more room.
fn joined(cells: [String; 9], view: View, paint: impl Fn(usize, String) -> String) -> String {
    let mut line = String::new();
    let mut used = 0;
    for (at, cell) in cells.into_iter().enumerate() {
        let (_, width, from) = COLUMNS[at];
        if view.width < from {
            continue;
        }
        let text = if at == 0 || at == 8 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
        let gap = if at == 8 { "  " } else { "" };
        used += gap.len() + text.chars().count();
        if used > view.width {
            break;
        }
        line.push_str(gap);
        line.push_str(&paint(at, text));
    }
    line
}

fn age(time: &Timestamp, now: UnixNanos) -> String {
    let since = now.nanos().saturating_sub(nanos(time)).max(0);
    let (seconds, tenths) = (since / 1_000_000_000, since % 1_000_000_000 / 100_000_000);
    match seconds {
        0..10 => format!("{seconds}.{tenths} s"),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn nanos(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanos))
}

/// The time of day in UTC.
fn clock(time: &Timestamp) -> String {
    let second = time.seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

fn cut(text: &str, width: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(width).collect()
}

fn paint(text: &str, colour: Color, view: View) -> String {
    if view.colours { text.with(colour).to_string() } else { text.to_owned() }
}

fn dim(text: &str, view: View) -> String {
    if view.colours { text.dim().to_string() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use ledgerflux_client::{Update, v1};

    use super::{super::Happening, *};

    fn market() -> Market {
        let mut market = Market::default();
        for product in ["BTC-USD", "ETH-USD", "SOL-USD"] {
            let trade = v1::Trade { price: "50000.01".into(), size: "1".into(), ..Default::default() };
            let tick = v1::Tick {
                product: product.into(),
                event_time: Some(Timestamp { seconds: 100, nanos: 500_000_000 }),
                last_trade: Some(trade),
                ..Default::default()
            };
            let update = v1::TickUpdate { tick: Some(tick), ..Default::default() };
            market.take(Happening::Update(Update::Tick(update).into()), Timestamp::default());
        }
        market
    }

    #[test]
    fn it_fits_every_screen() {
        let now = UnixNanos::new(102_000_000_000);
        for width in [20, 45, 60, 80, 110, 200] {
            for height in [10, 24] {
                let view = View { width, height, scrolled: 0, colours: false };
                let lines = lines(&market(), "http://127.0.0.1:8000", now, view);
                assert!(lines.len() <= height, "{lines:#?}");
                assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
                assert!(lines.iter().any(|line| line.contains("50000.01")) || width < 26, "{lines:#?}");
            }
        }
        let view = View { width: 120, height: 24, scrolled: 2, colours: false };
        let text = lines(&market(), "x", now, view).join("\n");
        assert!(text.contains("SOL-USD") && !text.contains("BTC-USD") && text.contains("1.5 s"), "{text}");
    }
}
