//! Where in the feed of a product a tick stands.

/// A place in the feed of one product: runs follow one another, and within a run the sequence of the exchange increases.
///
/// `sequence` has holes: the exchange counts every event of its order book and sends only some of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Counts how often the exchange's sequence started anew; 0 at first.
    pub run: u32,
    /// The exchange's own number.
    pub sequence: u64,
}

impl Position {
    /// The first place after this one.
    pub fn next(self) -> Self {
        match self.sequence.checked_add(1) {
            Some(sequence) => Self { sequence, ..self },
            None => Self { run: self.run.saturating_add(1), sequence: 0 },
        }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.run, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_run_comes_after_every_sequence_of_the_one_before() {
        let last = Position { run: 0, sequence: u64::MAX };
        let first = Position { run: 1, sequence: 0 };
        assert!(last < first);
        assert_eq!(first.to_string(), "1/0");
        assert_eq!(last.next(), first);
        assert_eq!(first.next(), Position { run: 1, sequence: 1 });
    }
}
