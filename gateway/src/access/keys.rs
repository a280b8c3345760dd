//! The file of API keys: who has one, what it allows, and a hash of it. The keys themselves are in no file.
//!
//! A key is `lf_<id>_<secret>` with 256 random bits in its secret, so that a plain SHA-256 of it cannot be guessed back.

use std::{io::Write as _, path::Path, time::SystemTime};

use ring::rand::SecureRandom as _;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::{AccessError, grant::Granted};

pub use super::grant::Quotas;

/// What every key begins with.
const PREFIX: &str = "lf_";
const ID_BYTES: usize = 4;
const SECRET_BYTES: usize = 32;
/// The largest file of keys that is read.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
const HEAD: &str = "# API keys of LedgerFlux: hashes, no keys. `ledgerflux keys` edits it; a running gateway reads it again by itself.\n";

/// One key, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// What the key is found by, and called in logs: 8 hexadecimal digits.
    pub id: String,
    /// For people.
    pub name: String,
    /// SHA-256 of the key, in hexadecimal.
    pub sha256: String,
    /// The products it may see: names, `venue:product`, or `*` for all.
    pub products: Vec<String>,
    /// When it was made (RFC 3339).
    #[serde(with = "rfc3339")]
    pub created: SystemTime,
    /// From when on it is refused.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub expires: Option<SystemTime>,
    /// How much it may take.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quotas: Quotas,
}

/// All keys of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// In the order in which they were made.
    #[serde(default, rename = "key")]
    pub keys: Vec<KeyRecord>,
}

/// What a new key is to allow.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// For people.
    pub name: String,
    /// See [`KeyRecord::products`].
    pub products: Vec<String>,
    /// See [`KeyRecord::expires`].
    pub expires: Option<SystemTime>,
    /// How much it may take.
    pub quotas: Quotas,
}

/// The time of the wall, by which keys and tokens end.
pub fn now() -> SystemTime {
    let nanos = u64::try_from(domain::UnixNanos::now().nanos()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + std::time::Duration::from_nanos(nanos)
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is no such file, or has a key that could never be used.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let bytes = super::files::content(path, FILE_BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| AccessError::unusable(path, "it is not UTF-8"))?;
        Self::parse(text).map_err(|why| AccessError::unusable(path, why))
    }

    /// Reads what [`KeyFile::edit`] wrote, or what people made of it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let mut ids = std::collections::BTreeSet::new();
        for key in &file.keys {
            let fault = |why: &str| format!("key {:?} ({}): {why}", key.id, key.name);
            if key.id.len() != ID_BYTES * 2 || from_hex(&key.id).is_none() {
                return Err(fault("the id is not 8 hexadecimal digits"));
            }
            if key.hash().is_none() {
                return Err(fault("sha256 is not 64 hexadecimal digits"));
            }
            Granted::parse(&key.products).map_err(|error| fault(&error.to_string()))?;
            if !ids.insert(&key.id) {
                return Err(fault("the id is there twice"));
            }
        }
        Ok(file)
    }

    /// Changes the file, or makes it, as one step: whoever reads it sees it as it was or as it is, and two who change it at
    /// once come one after the other. Only its owner can read it.
    ///
    /// # Errors
    /// When it cannot be read or replaced.
    pub fn edit<T>(path: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<T, AccessError> {
        let failed = |source| AccessError::Io { path: path.to_owned(), source };
        let beside = |ending: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(ending);
            std::path::PathBuf::from(name)
        };
        let lock = std::fs::File::create(beside(".lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut file = if path.exists() { Self::read(path)? } else { Self::default() };
        let outcome = change(&mut file);
        let text = toml::to_string(&file).map_err(|error| AccessError::unusable(path, error.to_string()))?;
        let draft = beside(".new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut written = options.open(&draft).map_err(failed)?;
        written.write_all(HEAD.as_bytes()).map_err(failed)?;
        written.write_all(text.as_bytes()).map_err(failed)?;
        written.sync_all().map_err(failed)?;
        std::fs::rename(&draft, path).map_err(failed)?;
        Ok(outcome)
    }

    /// Adds a key and returns its record and the key itself, which nobody can show again.
    ///
    /// # Errors
    /// When a product cannot be one, or the system has no random numbers.
    pub fn create(&mut self, new: NewKey, now: SystemTime) -> Result<(KeyRecord, String), AccessError> {
        Granted::parse(&new.products).map_err(AccessError::Product)?;
        let id = loop {
            let id = to_hex(&random::<ID_BYTES>()?);
            if self.keys.iter().all(|key| key.id != id) {
                break id;
            }
        };
        let key = format!("{PREFIX}{id}_{}", to_hex(&random::<SECRET_BYTES>()?));
        let record = KeyRecord {
            id,
            name: new.name,
            sha256: to_hex(&hash(&key)),
            products: new.products,
            created: now,
            expires: new.expires,
            quotas: new.quotas,
        };
        self.keys.push(record.clone());
        Ok((record, key))
    }

    /// Takes a key out, by its id; `None` when there is none.
    pub fn revoke(&mut self, id: &str) -> Option<KeyRecord> {
        let at = self.keys.iter().position(|key| key.id == id)?;
        Some(self.keys.remove(at))
    }
}

impl KeyRecord {
    fn hash(&self) -> Option<[u8; 32]> {
        from_hex(&self.sha256)?.try_into().ok()
    }

    /// Whether `key` is the one; how long this takes says nothing about how much of it fits.
    pub(super) fn is(&self, key: &str) -> bool {
        self.hash().is_some_and(|known| bool::from(known.ct_eq(&hash(key))))
    }
}

/// The id in a key; `None` for what cannot be one.
pub(super) fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    (id.len() == ID_BYTES * 2 && secret.len() == SECRET_BYTES * 2).then_some(id)
}

fn hash(key: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

fn random<const N: usize>() -> Result<[u8; N], AccessError> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| AccessError::NoRandomness)?;
    Ok(bytes)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?),
            _ => None,
        })
        .map(|byte| byte.and_then(|byte| u8::try_from(byte).ok()))
        .collect()
}

fn is_default(quotas: &Quotas) -> bool {
    *quotas == Quotas::default()
}

/// Times as people write them.
mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&humantime::format_rfc3339_seconds(*time).to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(|error| {
            D::Error::custom(format!("{text:?} is no time such as 2026-04-17T16:44:06Z: {error}"))
        })
    }

    pub(super) mod option {
        use super::{Deserializer, Serializer, SystemTime};

        pub(in super::super) fn serialize<S: Serializer>(
            time: &Option<SystemTime>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, to),
                None => to.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            super::deserialize(from).map(Some)
        }
    }
}

#[cfg(test)]
mod tests;
