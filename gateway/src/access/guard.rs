//! Who lets callers in: the keys and tokens that count at the moment.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use runtime::{ErrorChain, Latch, Shutdown};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    AccessConfig, AccessError,
    caller::{Caller, Ended, Usage},
    grant::Granted,
    jwt::Verifier,
    keys::{self, KeyFile, KeyRecord, Quotas},
    origin::Origins,
};

/// How often the files are looked at. In a cluster they are replaced rather than written, so that their content is compared,
/// and no watch set on them.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How many subjects of tokens are remembered before those that use nothing are forgotten.
const SUBJECTS_MAX: usize = 10_000;

/// Why credentials do not let anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are none.
    Missing,
    /// Nobody has this key.
    Unknown,
    /// Its time is over.
    Expired,
    /// It is no credential, or not one for here; in words for its owner.
    Invalid(&'static str),
}

impl Refused {
    /// As it stands in labels and in the reason of an error.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Invalid(_) => "invalid",
        }
    }
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Guard(Arc<State>);

#[derive(Debug)]
struct State {
    config: AccessConfig,
    keys: RwLock<Keys>,
    tokens: RwLock<Option<Verifier>>,
    /// What the subjects of tokens use, for their quotas.
    subjects: Mutex<HashMap<Subject, Arc<Usage>>>,
    anybody: Caller,
}

/// The subject of tokens, and the rate of calls that they allow: another rate is another account.
type Subject = (String, Option<NonZeroU32>);

#[derive(Debug, Default)]
struct Keys {
    file: KeyFile,
    holders: HashMap<String, Holder>,
}

#[derive(Debug)]
struct Holder {
    record: KeyRecord,
    caller: Caller,
}

impl Guard {
    /// Reads the files that are configured.
    pub(crate) fn open(config: AccessConfig) -> Result<Self, AccessError> {
        let file = config.keys.as_deref().map(KeyFile::read).transpose()?.unwrap_or_default();
        let tokens = config.jwt.clone().map(Verifier::open).transpose()?;
        Ok(Self(Arc::new(State {
            keys: RwLock::new(Keys::default().replaced_by(file)),
            tokens: RwLock::new(tokens),
            subjects: Mutex::default(),
            anybody: Caller::anonymous(),
            config,
        })))
    }

    /// Whether callers need credentials.
    pub(crate) fn is_required(&self) -> bool {
        self.0.config.required
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.0.config.origins
    }

    /// How long a WebSocket client may take to send its credentials.
    pub(crate) fn auth_timeout(&self) -> Duration {
        self.0.config.auth_timeout
    }

    /// Who has this key or token. Where none is asked for anybody is anonymous, whatever they show.
    pub(crate) fn check(&self, credential: Option<&str>) -> Result<Caller, Refused> {
        if !self.is_required() {
            return Ok(self.0.anybody.clone());
        }
        let credential = credential.filter(|given| !given.is_empty()).ok_or(Refused::Missing)?;
        let caller = match keys::id_of(credential) {
            Some(id) => self.holder(id, credential)?,
            None => self.bearer(credential)?,
        };
        match caller.has_ended(keys::now()) {
            None => Ok(caller),
            Some(Ended::Expired) => Err(Refused::Expired),
            Some(Ended::Revoked) => Err(Refused::Unknown),
        }
    }

    fn holder(&self, id: &str, key: &str) -> Result<Caller, Refused> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        let holder = keys.holders.get(id).filter(|holder| holder.record.is(key));
        holder.map(|holder| holder.caller.clone()).ok_or(Refused::Unknown)
    }

    fn bearer(&self, token: &str) -> Result<Caller, Refused> {
        let tokens = self.0.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let verified = tokens.as_ref().ok_or(Refused::Unknown)?.verify(token)?;
        let usage = self.usage(&verified.subject, &verified.quotas);
        Ok(Caller::new(
            verified.subject,
            verified.granted,
            verified.quotas,
            Some(verified.expires),
            verified.revoked,
            usage,
        ))
    }

    /// All tokens of one subject share what it may use; who uses nothing is forgotten when there are too many.
    fn usage(&self, subject: &str, quotas: &Quotas) -> Arc<Usage> {
        let subject = (subject.to_owned(), quotas.calls_per_second);
        let mut subjects = self.0.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if !subjects.contains_key(&subject) && subjects.len() >= SUBJECTS_MAX {
            subjects.retain(|_, usage| Arc::strong_count(usage) > 1);
        }
        Arc::clone(subjects.entry(subject).or_insert_with(|| Usage::new(quotas)))
    }

    /// Reads the files again whenever they have changed, until the shutdown. One that cannot be used leaves everything as it
    /// is, and `note` says so.
    pub(crate) async fn follow(self, note: Latch, shutdown: Shutdown) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = None;
        while shutdown.run_until(looks.tick()).await.is_some() {
            let guard = self.clone();
            let looked = tokio::task::spawn_blocking(move || guard.look()).await;
            let fault = match looked {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(ErrorChain(&error).to_string()),
                Err(error) => Some(error.to_string()),
            };
            if fault != told {
                match &fault {
                    Some(error) => {
                        warn!(%error, "the keys stay as they were");
                        note.set_waiting(format!("the keys stay as they were: {error}"));
                    }
                    None => note.set_ready(),
                }
                told = fault;
            }
        }
    }

    fn look(&self) -> Result<(), AccessError> {
        if let Some(path) = &self.0.config.keys {
            let file = KeyFile::read(path)?;
            let mut keys = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
            if keys.file != file {
                info!(keys = file.keys.len(), "the API keys have changed");
                *keys = std::mem::take(&mut *keys).replaced_by(file);
            }
        }
        let fresh = {
            let tokens = self.0.tokens.read().unwrap_or_else(PoisonError::into_inner);
            tokens.as_ref().map(Verifier::reopened).transpose()?.flatten()
        };
        if let Some(fresh) = fresh {
            info!("the keys of tokens have changed");
            *self.0.tokens.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
        }
        Ok(())
    }
}

impl Keys {
    /// The keys of `file`. Holders of keys that are as they were stay; all others have to come again.
    fn replaced_by(mut self, file: KeyFile) -> Self {
        let mut holders = HashMap::with_capacity(file.keys.len());
        for record in &file.keys {
            let known = self.holders.remove(&record.id);
            let holder = match known {
                Some(known) if known.record == *record => known,
                changed => {
                    if let Some(changed) = changed {
                        changed.caller.revoke();
                    }
                    Holder::new(record)
                }
            };
            holders.insert(record.id.clone(), holder);
        }
        for gone in self.holders.values() {
            gone.caller.revoke();
        }
        Self { file, holders }
    }
}

impl Holder {
    fn new(record: &KeyRecord) -> Self {
        // The file was checked when it was read.
        let granted = Granted::parse(&record.products).unwrap_or(Granted::These(Default::default()));
        let caller = Caller::new(
            record.id.clone(),
            granted,
            record.quotas,
            record.expires,
            CancellationToken::new(),
            Usage::new(&record.quotas),
        );
        Self { record: record.clone(), caller }
    }
}

#[cfg(test)]
mod tests;
