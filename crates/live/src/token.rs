//! Where a subscriber has come to, as text that it gives back to go on from there.
//!
//! A token is opaque to whoever holds it: base64url of a version, the epoch, one place or all places of a subscription,
//! and four bytes of a hash, by which garbage is told from a token. It is no secret and no permission.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Instrument, Position};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::epoch::EpochId;

/// The longest token, in bytes of its text: that of some thousand products.
pub const TOKEN_BYTES_MAX: usize = 192 * 1024;

const VERSION: u8 = 1;
const OF_A_PRODUCT: u8 = 0;
const OF_PRODUCTS: u8 = 1;
const OF_ALL: u8 = 2;
/// What stands in the place of a run for a product that was left: beyond every run.
const LEFT: u64 = 1 << 33;
const CHECK_BYTES: usize = 4;

/// Why a text is no token.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TokenError {
    /// It was not made here, or not all of it is there.
    #[error("it is none that was given out here")]
    Garbage,
    /// It was made by a later release.
    #[error("it is of version {0}, and only version 1 is known")]
    Version(u8),
}

/// A place to resume from: of one product, or of a whole subscription. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(Arc<Content>);

#[derive(Debug, PartialEq, Eq)]
struct Content {
    epoch: EpochId,
    scope: Scope,
    places: Vec<Place>,
    /// Of all products, it is not of these.
    left: Vec<Instrument>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// One product of a subscription.
    Product,
    /// A whole subscription.
    Subscription {
        /// It is of all products, also of those that appeared after the token was made.
        all: bool,
    },
}

/// Where a subscription stands in one product; no position: nothing of the product was known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) instrument: Instrument,
    pub(crate) position: Option<Position>,
}

/// What is written of a product.
#[derive(Clone, Copy, Debug)]
enum Stand {
    At(Position),
    /// Nothing of it was known yet.
    New,
    Left,
}

impl Token {
    /// Reads what [`Token::text_of`] and its siblings wrote.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Garbage);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Garbage)?;
        let (content, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TokenError::Garbage)?;
        if *check != check_of(content) {
            return Err(TokenError::Garbage);
        }
        let mut reader = Reader(content);
        match reader.byte() {
            Some(VERSION) => {}
            version => return Err(version.map_or(TokenError::Garbage, TokenError::Version)),
        }
        reader.content().map(|content| Self(Arc::new(content))).ok_or(TokenError::Garbage)
    }

    /// Whether it is of a whole subscription, so that it says by itself what to subscribe to.
    pub fn is_of_subscription(&self) -> bool {
        self.0.scope != Scope::Product
    }

    /// Whether it is of a subscription to all products.
    pub fn is_of_all(&self) -> bool {
        self.0.scope == Scope::Subscription { all: true }
    }

    /// The products that it knows a place of.
    pub fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.0.places.iter().map(|place| &place.instrument)
    }

    /// The products that the subscriber had left, of all products.
    pub(crate) fn left(&self) -> &[Instrument] {
        &self.0.left
    }

    pub(crate) fn epoch(&self) -> EpochId {
        self.0.epoch
    }

    pub(crate) fn place(&self, instrument: &Instrument) -> Option<&Place> {
        self.0.places.iter().find(|place| place.instrument == *instrument)
    }

    /// The text of a place in one product.
    pub(crate) fn text_of(epoch: EpochId, instrument: &Instrument, position: Position) -> String {
        let mut bytes = head(OF_A_PRODUCT, epoch);
        write_place(&mut bytes, None, instrument, Stand::At(position));
        seal(bytes)
    }

    /// The text of a whole subscription; `None` when its products are too many for one token. Only a subscription to all
    /// products can have left some.
    pub(crate) fn text_of_all<'a>(
        epoch: EpochId,
        all: bool,
        places: impl Iterator<Item = (&'a Instrument, Option<Position>)>,
        left: impl Iterator<Item = &'a Instrument>,
    ) -> Option<String> {
        let mut bytes = head(if all { OF_ALL } else { OF_PRODUCTS }, epoch);
        let mut before = None;
        let places =
            places.map(|(instrument, position)| (instrument, position.map_or(Stand::New, Stand::At)));
        for (instrument, stand) in places.chain(left.map(|instrument| (instrument, Stand::Left))) {
            write_place(&mut bytes, before, instrument, stand);
            before = Some(instrument);
            if bytes.len() > TOKEN_BYTES_MAX / 4 * 3 - CHECK_BYTES {
                return None;
            }
        }
        Some(seal(bytes))
    }
}

fn head(kind: u8, epoch: EpochId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.extend([VERSION, kind]);
    bytes.extend(epoch.bytes());
    bytes
}

fn seal(mut bytes: Vec<u8>) -> String {
    let check = check_of(&bytes);
    bytes.extend(check);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn check_of(content: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::digest(content);
    std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default())
}

/// A venue that is that of the place before is left out.
fn write_place(bytes: &mut Vec<u8>, before: Option<&Instrument>, instrument: &Instrument, stand: Stand) {
    let is_same = before.is_some_and(|before| before.venue == instrument.venue);
    write_text(bytes, if is_same { "" } else { instrument.venue.as_str() });
    write_text(bytes, instrument.product.as_str());
    match stand {
        Stand::At(position) => {
            write_number(bytes, u64::from(position.run) + 1);
            write_number(bytes, position.sequence);
        }
        Stand::New => write_number(bytes, 0),
        Stand::Left => write_number(bytes, LEFT),
    }
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    write_number(bytes, text.len() as u64);
    bytes.extend(text.as_bytes());
}

/// Seven bits to a byte, the lowest first, as protobuf does.
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits.leading_zeros() < shift {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn place(&mut self, before: Option<&Instrument>) -> Option<(Instrument, Stand)> {
        let venue = match self.text()? {
            "" => before?.venue.as_str().to_owned(),
            venue => venue.to_owned(),
        };
        let instrument = Instrument::new(&venue, self.text()?).ok()?;
        let stand = match self.number()? {
            0 => Stand::New,
            LEFT => Stand::Left,
            run => Stand::At(Position { run: u32::try_from(run - 1).ok()?, sequence: self.number()? }),
        };
        Some((instrument, stand))
    }

    fn content(mut self) -> Option<Content> {
        let scope = match self.byte()? {
            OF_A_PRODUCT => Scope::Product,
            OF_PRODUCTS => Scope::Subscription { all: false },
            OF_ALL => Scope::Subscription { all: true },
            _ => return None,
        };
        let mut epoch = [0; 8];
        for byte in &mut epoch {
            *byte = self.byte()?;
        }
        let (mut places, mut left): (Vec<Place>, Vec<Instrument>) = Default::default();
        while !self.0.is_empty() {
            // Those that were left stand at the end.
            let before = left.last().or(places.last().map(|place| &place.instrument));
            match self.place(before)? {
                (instrument, Stand::Left) => left.push(instrument),
                (instrument, Stand::New) => places.push(Place { instrument, position: None }),
                (instrument, Stand::At(position)) => {
                    places.push(Place { instrument, position: Some(position) });
                }
            }
        }
        let is_whole = match scope {
            Scope::Product => places.len() == 1 && places.iter().all(|place| place.position.is_some()),
            Scope::Subscription { .. } => true,
        };
        let is_whole = is_whole && (left.is_empty() || scope == Scope::Subscription { all: true });
        is_whole.then(|| Content { epoch: EpochId::from_bytes(epoch), scope, places, left })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: EpochId = EpochId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]);

    fn instrument(venue: &str, product: &str) -> Instrument {
        Instrument::new(venue, product).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(run: u32, sequence: u64, rest in prop::collection::vec(
            ("[a-z]{1,8}", "[A-Z]{1,8}-USD", prop::option::of((any::<u32>(), any::<u64>()))), 0..20),
            left in prop::collection::vec("[A-Z]{1,8}-USD", 0..5), all: bool) {
            let position = Position { run, sequence };
            let of = instrument("coinbase", "BTC-USD");
            let token = Token::parse(&Token::text_of(EPOCH, &of, position)).unwrap();
            prop_assert!(!token.is_of_subscription());
            prop_assert_eq!(token.epoch(), EPOCH);
            prop_assert_eq!(token.place(&of).unwrap().position, Some(position));
            let places: Vec<Place> = rest.iter().map(|(venue, product, position)| Place {
                instrument: instrument(venue, product),
                position: position.map(|(run, sequence)| Position { run, sequence }),
            }).collect();
            let left: Vec<_> = left.iter().filter(|_| all).map(|name| instrument("coinbase", name)).collect();
            let text = Token::text_of_all(
                EPOCH, all, places.iter().map(|place| (&place.instrument, place.position)), left.iter()).unwrap();
            let token = Token::parse(&text).unwrap();
            prop_assert_eq!(token.left(), &left);
            prop_assert_eq!((token.is_of_subscription(), token.is_of_all()), (true, all));
            prop_assert_eq!(&token.0.places, &places);
        }

        #[test]
        fn garbage_is_recognised(text in ".{0,80}", at in 0usize..50, by in 1u8..255) {
            prop_assert!(Token::parse(&text).is_err());
            let good = Token::text_of(EPOCH, &instrument("coinbase", "BTC-USD"), Position { run: 0, sequence: 7 });
            let mut bytes = URL_SAFE_NO_PAD.decode(&good).unwrap();
            let at = at % bytes.len();
            bytes[at] = bytes[at].wrapping_add(by);
            prop_assert_eq!(Token::parse(&URL_SAFE_NO_PAD.encode(&bytes)), Err(TokenError::Garbage));
        }
    }

    #[test]
    fn a_later_version_is_named_and_length_is_bounded() {
        let mut bytes = head(OF_ALL, EPOCH);
        bytes[0] = 9;
        assert_eq!(Token::parse(&seal(bytes)), Err(TokenError::Version(9)));
        assert_eq!(Token::parse(&"A".repeat(TOKEN_BYTES_MAX + 1)), Err(TokenError::Garbage));
        let names: Vec<Instrument> =
            (0..20_000).map(|n| instrument("coinbase", &format!("P{n}-USD"))).collect();
        let at = |count| {
            let places =
                names.iter().take(count).map(|name| (name, Some(Position { run: 0, sequence: 1 << 40 })));
            Token::text_of_all(EPOCH, true, places, std::iter::empty())
        };
        let text = at(5_000).unwrap();
        assert!(text.len() <= TOKEN_BYTES_MAX);
        assert_eq!(Token::parse(&text).unwrap().instruments().count(), 5_000);
        assert_eq!(at(20_000), None);
    }
}
