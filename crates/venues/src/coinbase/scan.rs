//! The quick way through a ticker: one pass over a frame of the form in which the exchange writes it.
//!
//! That form is a flat object of strings without escapes and of whole numbers. Whatever else a frame may be (sound JSON in
//! another form, or none at all) is left to serde_json, which also explains what is wrong: so a fault reads the same
//! whichever way a frame takes, and this way needs no faults. `tests/robustness.rs` compares the two.

use std::borrow::Cow;

use super::field::Field;
use super::message::TickerMessage;

/// The ticker, when the frame has the usual form.
pub(super) fn ticker(text: &str) -> Option<TickerMessage<'_>> {
    let mut cursor = Cursor { text, at: 0 };
    let mut message = TickerMessage::default();
    cursor.expect(b'{')?;
    loop {
        let key = cursor.string()?;
        cursor.expect(b':')?;
        let value = cursor.value()?;
        if let Some(field) = field(&mut message, key) {
            // A field that stands there twice is for serde_json to refuse.
            if !matches!(field, Field::Absent) {
                return None;
            }
            *field = value;
        }
        match cursor.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    cursor.is_at_end().then_some(message)
}

fn field<'a, 'm>(message: &'m mut TickerMessage<'a>, key: &str) -> Option<&'m mut Field<'a>> {
    Some(match key {
        "sequence" => &mut message.sequence,
        "product_id" => &mut message.product_id,
        "price" => &mut message.price,
        "open_24h" => &mut message.open_24h,
        "volume_24h" => &mut message.volume_24h,
        "low_24h" => &mut message.low_24h,
        "high_24h" => &mut message.high_24h,
        "volume_30d" => &mut message.volume_30d,
        "best_bid" => &mut message.best_bid,
        "best_bid_size" => &mut message.best_bid_size,
        "best_ask" => &mut message.best_ask,
        "best_ask_size" => &mut message.best_ask_size,
        "side" => &mut message.side,
        "time" => &mut message.time,
        "trade_id" => &mut message.trade_id,
        "last_size" => &mut message.last_size,
        _ => return None,
    })
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        self.skip_blanks();
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.at == self.text.len()
    }

    /// A string without escapes; JSON allows no control characters in it.
    fn string(&mut self) -> Option<&'a str> {
        self.expect(b'"')?;
        let rest = self.text.as_bytes().get(self.at..)?;
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        let string = self.text.get(self.at..self.at + length)?;
        self.at += length;
        self.expect_here(b'"')?;
        Some(string)
    }

    fn expect_here(&mut self, wanted: u8) -> Option<()> {
        let found = self.peek()? == wanted;
        self.at += 1;
        found.then_some(())
    }

    /// A string or a whole number.
    fn value(&mut self) -> Option<Field<'a>> {
        self.skip_blanks();
        if self.peek()? == b'"' {
            return self.string().map(|text| Field::Text(Cow::Borrowed(text)));
        }
        let start = self.at;
        let mut number: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
            self.at += 1;
        }
        let starts_with_zero = self.text.as_bytes().get(start) == Some(&b'0');
        match self.at - start {
            0 => None,
            1 => Some(Field::Integer(number)),
            _ => (!starts_with_zero).then_some(Field::Integer(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What serde_json makes of it.
    fn slowly(text: &str) -> Option<TickerMessage<'_>> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn the_usual_form_is_read_as_serde_json_reads_it() {
        for text in [
            r#"{"type":"ticker","sequence":50978628538,"product_id":"BTC-USD","price":"17165.16","side":"sell","trade_id":0}"#,
            " {\t\"price\" : \"1\" ,\r\n \"sequence\" : 18446744073709551615 } \n",
            r#"{"new_field":"é","other":7,"other":8,"price":""}"#,
        ] {
            let read = ticker(text).unwrap();
            assert_eq!(format!("{read:?}"), format!("{:?}", slowly(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn every_other_form_is_left_to_serde_json() {
        for text in [
            "",
            "{}",
            "{\"price\"}",
            "{\"price\":\"1\"",
            "{\"price\":\"1\",}",
            "{\"price\":\"1\"}}",
            "{\"price\":\"1\" \"side\":\"buy\"}",
            "{\"price\":\"1\",\"price\":\"1\"}",
            "{\"price\":null}",
            "{\"price\":\"1\\u0030\"}",
            "{\"pri\\u0063e\":\"1\"}",
            "{\"price\":\"1\n\"}",
            "{\"sequence\":01}",
            "{\"sequence\":-1}",
            "{\"sequence\":1.0}",
            "{\"sequence\":1e3}",
            "{\"sequence\":18446744073709551616}",
            "{\"sequence\":}",
            "{\"new\":[1],\"price\":\"1\"}",
            "{\"new\":{},\"price\":\"1\"}",
            "{\"new\":true}",
            "[\"price\"]",
        ] {
            assert!(ticker(text).is_none(), "{text}");
        }
    }
}
