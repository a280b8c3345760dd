//! Looking for a number among what was refused.

use domain::{Instrument, RejectedTick};

use super::REJECTS_MAX;
use crate::{args::By, rejects::Reading};

/// The rejects that have the number, newest last.
pub(super) async fn find(
    mut reading: Reading,
    wanted: &Instrument,
    number: u64,
    by: Option<By>,
) -> anyhow::Result<Vec<(u64, RejectedTick)>> {
    let mut found = Vec::new();
    while let Some(followed) = reading.next().await? {
        if has(&followed.content, wanted, number, by) {
            found.push((followed.stream_sequence, followed.content));
            if found.len() > REJECTS_MAX {
                found.remove(0);
            }
        }
    }
    Ok(found)
}

fn has(reject: &RejectedTick, wanted: &Instrument, number: u64, by: Option<By>) -> bool {
    let is_asked = |way: By| by.is_none_or(|by| by == way);
    if let Some(tick) = &reject.tick {
        return tick.instrument == *wanted
            && ((is_asked(By::TradeId) && tick.trade_id() == Some(number))
                || (is_asked(By::Sequence) && tick.sequence == Some(number)));
    }
    let names_product = match &reject.instrument {
        Some(instrument) => instrument == wanted,
        None => contains(&reject.raw, &format!("\"{}\"", wanted.product)),
    };
    names_product
        && By::ALL
            .into_iter()
            .filter(|way| is_asked(*way))
            .any(|way| has_member(&reject.raw, way.as_str(), number))
}

/// Whether a frame that could not be read as a whole still shows the number.
fn has_member(raw: &[u8], name: &str, number: u64) -> bool {
    let text = String::from_utf8_lossy(raw);
    let mut rest = text.as_ref();
    while let Some((_, after)) = rest.split_once(&format!("\"{name}\"")) {
        let value = after.trim_start().strip_prefix(':').map_or("", str::trim_start);
        let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
        if digits.parse() == Ok(number) {
            return true;
        }
        rest = after;
    }
    false
}

fn contains(raw: &[u8], text: &str) -> bool {
    raw.windows(text.len()).any(|window| window == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use domain::{RejectReason, UnixNanos};

    use super::*;

    fn reject(raw: &str, product: Option<&str>) -> RejectedTick {
        RejectedTick {
            instrument: product.map(|product| Instrument::new("coinbase", product).unwrap()),
            tick: None,
            raw: raw.as_bytes().to_vec(),
            raw_length: raw.len() as u64,
            reason: RejectReason::Undecodable,
            detail: String::new(),
            source: "test".into(),
            time: UnixNanos::new(0),
            identity: "a/1".into(),
        }
    }

    #[test]
    fn a_number_is_found_in_what_is_left_of_a_frame() {
        let btc = Instrument::new("coinbase", "BTC-USD").unwrap();
        let raw = r#"{"type":"ticker","sequence":71,"product_id":"BTC-USD","trade_id" : 7,"price":"1.-"#;
        let is = |number, by| has(&reject(raw, None), &btc, number, by);
        assert!(is(7, None) && is(7, Some(By::TradeId)) && is(71, None) && is(71, Some(By::Sequence)));
        assert!(!is(7, Some(By::Sequence)) && !is(1, None) && !is(71, Some(By::TradeId)));
        assert!(!has(&reject(raw, Some("ETH-USD")), &btc, 7, None));
        assert!(!has(&reject(&raw.replace("BTC", "ETH"), None), &btc, 7, None));
    }
}
