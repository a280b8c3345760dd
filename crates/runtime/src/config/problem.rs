use std::fmt;

use super::Origin;

/// Everything wrong with one configuration, ordered by key; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblems {
    problems: Vec<Problem>,
}

impl ConfigProblems {
    /// An error when there is at least one problem.
    pub(super) fn check(mut problems: Vec<Problem>) -> Result<(), ConfigProblems> {
        // Two sections may read one key; its problem is told once.
        problems.sort_by(|a, b| (&a.key, &a.origin, a.to_string()).cmp(&(&b.key, &b.origin, b.to_string())));
        problems.dedup();
        if problems.is_empty() { Ok(()) } else { Err(ConfigProblems { problems }) }
    }

    pub(super) fn one(problem: Problem) -> ConfigProblems {
        ConfigProblems { problems: vec![problem] }
    }

    /// The problems, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(formatter, "bad configuration: {problem}"),
            problems => {
                write!(formatter, "bad configuration, {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(formatter, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigProblems {}

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The full key, for example `bus.shards`; empty when the file as a whole is concerned.
    pub key: String,
    /// The value as it was given, with secrets hidden; absent for an unknown key, which might be a misspelt secret.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with a key or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The value is of the wrong type or out of range.
    NotAllowed {
        /// What would be right, for example `a whole number from 1 to 64`.
        allowed: String,
        /// What exactly is wrong, when there is more to say.
        detail: Option<String>,
    },
    /// Values that are fine one by one do not fit together.
    Conflict {
        /// What relation is broken.
        rule: String,
    },
    /// Nobody reads this key.
    UnknownKey {
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// The file cannot be read or is neither valid TOML nor valid JSON.
    BadFile {
        /// Why, in the words of the system or the parser.
        why: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            formatter.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(formatter, " = {value}")?;
            }
            formatter.write_str(" ")?;
        }
        match &self.kind {
            ProblemKind::NotAllowed { allowed, detail } => {
                write!(formatter, "({}): must be {allowed}", self.origin)?;
                detail.iter().try_for_each(|detail| write!(formatter, " ({detail})"))
            }
            ProblemKind::Conflict { rule } => write!(formatter, "({}): {rule}", self.origin),
            ProblemKind::UnknownKey { suggestion } => {
                write!(formatter, "({}): unknown key", self.origin)?;
                suggestion.iter().try_for_each(|key| write!(formatter, ", did you mean {key}?"))
            }
            ProblemKind::BadFile { why } => write!(formatter, "{}: {why}", self.origin),
        }
    }
}
