use std::error::Error;
use std::fmt;

/// Shows an error with all its causes on one line: `cannot connect: connection refused`.
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        formatter.write_str(&told)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            // Many errors already repeat their cause in their own message.
            let message = error.to_string();
            if !told.ends_with(&message) {
                write!(formatter, ": {message}")?;
            }
            told = message;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("attempt 1: {0}")]
    struct Middle(#[source] std::io::Error);

    #[test]
    fn every_cause_is_told_once() {
        let error = Outer(Middle(std::io::Error::other("connection refused")));
        assert_eq!(ErrorChain(&error).to_string(), "cannot connect: attempt 1: connection refused");
    }
}
