//! Spoilt messages, the same for the same seed.

use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::faults::Corruption;
use crate::generate::random::Random;

/// A ticker that arrived broken.
pub(super) fn corrupted(ticker: &Message, how: Corruption, seed: u64) -> Message {
    let mut random = Random::new(seed);
    let text = ticker.to_text().unwrap_or_default();
    match how {
        Corruption::Cut => Message::text(cut(text, &mut random)),
        Corruption::Garbage => Message::text(garbage(seed)),
        Corruption::Binary => {
            let length = 16 + random.below(240);
            Message::Binary((0..length).map(|_| random.next().to_le_bytes()[0]).collect::<Bytes>())
        }
        // The form in which a malformed number was seen on the exchange.
        Corruption::Number => match text.split_once(r#""price":""#) {
            Some((before, after)) => Message::text(format!(r#"{before}"price":"0.-{after}"#)),
            None => Message::text(cut(text, &mut random)),
        },
        Corruption::Crossed | Corruption::Unpriced => {
            Message::text(faulty(text, how).unwrap_or_else(|| cut(text, &mut random)))
        }
    }
}

/// A ticker that can be read and is wrong; none when it has not what is to be wrong, or shall not be readable.
pub(super) fn faulty(text: &str, how: Corruption) -> Option<String> {
    match how {
        // One digit more in front: far above the best ask.
        Corruption::Crossed => text
            .split_once(r#""best_bid":""#)
            .map(|(before, after)| format!(r#"{before}"best_bid":"1{after}"#)),
        Corruption::Unpriced => {
            let (before, rest) = text.split_once(r#""price":""#)?;
            let (_, after) = rest.split_once('"')?;
            Some(format!(r#"{before}"price":"0"{after}"#))
        }
        _ => None,
    }
}

/// Text that is no JSON.
pub(crate) fn garbage(seed: u64) -> String {
    let mut random = Random::new(seed);
    if random.percent(30) {
        return "<html><body><h1>502 Bad Gateway</h1></body></html>".to_owned();
    }
    let letters = b"abcXYZ019 :,\"{}[]\\-.%";
    let length = 8 + random.below(120);
    let letter = |random: &mut Random| {
        let index = usize::try_from(random.below(letters.len() as u64)).unwrap_or(0);
        letters.get(index).map_or('?', |letter| char::from(*letter))
    };
    // However the rest falls out, no JSON begins like this.
    std::iter::once('~').chain((1..length).map(|_| letter(&mut random))).collect()
}

/// A different order.
pub(super) fn mixed<T>(mut things: Vec<T>, seed: u64) -> Vec<T> {
    let mut random = Random::new(seed);
    // Sattolo's cycle: unlike a shuffle, it leaves nothing in its place.
    for last in (1..things.len()).rev() {
        let other = usize::try_from(random.below(u64::try_from(last).unwrap_or(1))).unwrap_or(0);
        things.swap(last, other);
    }
    things
}

/// The text up to somewhere in its middle.
fn cut(text: &str, random: &mut Random) -> String {
    let length = u64::try_from(text.chars().count()).unwrap_or(0);
    let keep = 1 + random.below(length.saturating_sub(2));
    text.chars().take(usize::try_from(keep).unwrap_or(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use venues::coinbase::parse;

    const TICKER: &str = r#"{"type":"ticker","price":"1.5","trade_id":7}"#;

    #[test]
    fn what_is_spoilt_cannot_be_read_and_is_the_same_for_a_seed() {
        for seed in 0..200 {
            for how in [Corruption::Cut, Corruption::Garbage, Corruption::Binary] {
                let message = corrupted(&Message::text(TICKER), how, seed);
                assert!(parse(&message.clone().into_data()).is_err(), "{message:?}");
                assert_eq!(message, corrupted(&Message::text(TICKER), how, seed));
            }
            assert!(serde_json::from_str::<serde_json::Value>(&garbage(seed)).is_err());
        }
        let number = corrupted(&Message::text(TICKER), Corruption::Number, 1);
        assert_eq!(number.to_text().unwrap(), r#"{"type":"ticker","price":"0.-1.5","trade_id":7}"#);
        let no_book = corrupted(&Message::text(TICKER), Corruption::Crossed, 1);
        assert!(parse(&no_book.into_data()).is_err());
    }

    #[test]
    fn a_crossed_book_can_be_read() {
        let ticker = Message::text(r#"{"type":"ticker","best_bid":"9.5","best_ask":"10.5"}"#);
        let spoilt = corrupted(&ticker, Corruption::Crossed, 1);
        assert_eq!(spoilt.to_text().unwrap(), r#"{"type":"ticker","best_bid":"19.5","best_ask":"10.5"}"#);
    }

    #[test]
    fn a_price_of_nothing_can_be_read() {
        let spoilt = corrupted(&Message::text(TICKER), Corruption::Unpriced, 1);
        assert_eq!(spoilt.to_text().unwrap(), r#"{"type":"ticker","price":"0","trade_id":7}"#);
    }

    #[test]
    fn a_mixed_order_is_another_one() {
        for seed in 0..100 {
            let mixed_up = mixed((0..7).collect(), seed);
            assert!(mixed_up.iter().enumerate().all(|(place, number)| place != *number), "{mixed_up:?}");
        }
        assert_eq!(mixed(vec![1, 2], 5), [2, 1]);
        assert_eq!(mixed(vec![1], 5), [1]);
    }
}
