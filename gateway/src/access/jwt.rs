//! Tokens (JWT): which key and algorithm they are checked with, and what they say.
//!
//! The algorithm is that of the key, by configuration. What a token says of it must agree and decides nothing.

use std::{
    collections::HashSet,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::{Error as JwtError, ErrorKind},
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet},
};
use runtime::config::Reader;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{AccessError, files::content, grant::Granted, guard::Refused, keys::Quotas, ring_provider};

/// The largest file of keys that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// A shorter secret could be guessed (RFC 7518, 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// How far the clock of the issuer may be off.
const LEEWAY: Duration = Duration::from_secs(5);
/// What is known of a token's holder in logs and counts has a bound.
const SUBJECT_BYTES_MAX: usize = 256;
/// The longest token.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How tokens are checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JwtConfig {
    key_file: PathBuf,
    algorithm: Option<Algorithm>,
    issuer: Option<String>,
    audience: Option<String>,
}

impl JwtConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let key_file = reader.optional_path("jwt_key_file");
        let allowed = "HS256, RS256, ES256 or EdDSA";
        let algorithm = reader.optional_parsed("jwt_algorithm", allowed, |text| {
            ALGORITHMS.into_iter().find(|known| format!("{known:?}") == text).ok_or("")
        });
        let (issuer, audience) = (reader.optional_text("jwt_issuer"), reader.optional_text("jwt_audience"));
        key_file.map(|key_file| Self { key_file, algorithm, issuer, audience })
    }
}

const ALGORITHMS: [Algorithm; 4] = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// A key that tokens are checked with.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    /// What it was read from: the same means that it is the same key.
    source: Vec<u8>,
    /// Ends the streams of its tokens when it is taken away.
    revoked: CancellationToken,
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Verifier {
    config: JwtConfig,
    content: Vec<u8>,
    keys: Vec<Key>,
}

/// What a good token says.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) subject: String,
    pub(super) granted: Granted,
    pub(super) quotas: Quotas,
    pub(super) expires: SystemTime,
    pub(super) revoked: CancellationToken,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    exp: serde_json::Number,
    products: Option<Vec<String>>,
    #[serde(default)]
    quotas: Quotas,
}

impl Verifier {
    /// Reads the file of keys: a PEM file, a JWKS, or the bytes of a secret for HS256.
    pub(super) fn open(config: JwtConfig) -> Result<Self, AccessError> {
        ring_provider::install();
        let content = content(&config.key_file, FILE_BYTES_MAX)?;
        let keys =
            keys(&content, config.algorithm).map_err(|why| AccessError::unusable(&config.key_file, why))?;
        Ok(Self { config, content, keys })
    }

    /// The same with the file as it is now, or `None` when it is as it was. Keys that have gone end what they let in.
    pub(super) fn reopened(&self) -> Result<Option<Self>, AccessError> {
        if content(&self.config.key_file, FILE_BYTES_MAX)? == self.content {
            return Ok(None);
        }
        let mut fresh = Self::open(self.config.clone())?;
        for old in &self.keys {
            let same = |new: &&mut Key| {
                new.id == old.id && new.algorithm == old.algorithm && new.source == old.source
            };
            match fresh.keys.iter_mut().find(same) {
                Some(new) => new.revoked = old.revoked.clone(),
                None => old.revoked.cancel(),
            }
        }
        Ok(Some(fresh))
    }

    pub(super) fn verify(&self, token: &str) -> Result<Verified, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Invalid("it is too long"));
        }
        let header = decode_header(token).map_err(|error| refusal(&error))?;
        let key = match &header.kid {
            Some(_) if self.keys.iter().any(|key| key.id.is_some()) => {
                self.keys.iter().find(|key| key.id == header.kid)
            }
            _ => Some(&self.keys).filter(|keys| keys.len() == 1).and_then(|keys| keys.first()),
        };
        let key = key.ok_or(Refused::Invalid("it names no key that is known here"))?;
        let claims = decode::<Claims>(token, &key.key, &self.validation(key.algorithm))
            .map_err(|error| refusal(&error))?
            .claims;
        if claims.sub.is_empty() || claims.sub.len() > SUBJECT_BYTES_MAX {
            return Err(Refused::Invalid("sub is empty or too long"));
        }
        let granted = match &claims.products {
            None => Granted::All,
            Some(names) => Granted::parse(names)
                .map_err(|_| Refused::Invalid("products names what can be no product"))?,
        };
        Ok(Verified {
            subject: claims.sub,
            granted,
            quotas: claims.quotas,
            expires: end_of(&claims.exp).ok_or(Refused::Invalid("exp is no time"))?,
            revoked: key.revoked.clone(),
        })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        let mut required = HashSet::from(["exp".to_owned(), "sub".to_owned()]);
        if let Some(issuer) = &self.config.issuer {
            validation.set_issuer(&[issuer]);
            required.insert("iss".to_owned());
        }
        if let Some(audience) = &self.config.audience {
            validation.set_audience(&[audience]);
            required.insert("aud".to_owned());
        }
        validation.required_spec_claims = required;
        validation
    }
}

/// When the token ends; `None` for what is no time.
fn end_of(exp: &serde_json::Number) -> Option<SystemTime> {
    let seconds = match exp.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::try_from_secs_f64(exp.as_f64()?).ok()?,
    };
    SystemTime::UNIX_EPOCH.checked_add(seconds.checked_add(LEEWAY)?)
}

/// Says what is wrong without repeating anything of the token.
fn refusal(error: &JwtError) -> Refused {
    match error.kind() {
        ErrorKind::ExpiredSignature => Refused::Expired,
        ErrorKind::ImmatureSignature => Refused::Invalid("it is not valid yet (nbf)"),
        ErrorKind::InvalidSignature => Refused::Invalid("its signature does not fit"),
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => {
            Refused::Invalid("its algorithm is not that of the key")
        }
        ErrorKind::InvalidIssuer => Refused::Invalid("its issuer is another (iss)"),
        ErrorKind::InvalidAudience => Refused::Invalid("it is for somebody else (aud)"),
        ErrorKind::MissingRequiredClaim(_) => Refused::Invalid("a claim is missing: sub, exp, iss or aud"),
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => {
            Refused::Invalid("a claim has another type than it should")
        }
        _ => Refused::Invalid("it is no token"),
    }
}

fn keys(content: &[u8], algorithm: Option<Algorithm>) -> Result<Vec<Key>, String> {
    if content.trim_ascii_start().starts_with(b"{") {
        return jwks(content, algorithm);
    }
    let algorithm = algorithm.ok_or("gateway.jwt_algorithm must say what the key is for")?;
    let key = match algorithm {
        Algorithm::HS256 => secret(content.trim_ascii_end()),
        Algorithm::RS256 => DecodingKey::from_rsa_pem(content).map_err(|error| error.to_string()),
        Algorithm::ES256 => DecodingKey::from_ec_pem(content).map_err(|error| error.to_string()),
        _ => DecodingKey::from_ed_pem(content).map_err(|error| error.to_string()),
    };
    let key = key.map_err(|why| format!("it holds no key for {algorithm:?}: {why}"))?;
    Ok(vec![Key { id: None, algorithm, key, source: content.to_owned(), revoked: CancellationToken::new() }])
}

fn secret(bytes: &[u8]) -> Result<DecodingKey, String> {
    if bytes.starts_with(b"-----BEGIN") {
        // A public key is no secret: whoever has it could sign.
        return Err("it is a PEM file, not a secret".into());
    }
    if bytes.len() < SECRET_BYTES_MIN {
        return Err(format!("a secret needs at least {SECRET_BYTES_MIN} bytes"));
    }
    Ok(DecodingKey::from_secret(bytes))
}

fn jwks(content: &[u8], only: Option<Algorithm>) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_slice(content).map_err(|error| format!("it is no JWKS: {error}"))?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        let Some(algorithm) = algorithm_of(jwk).filter(|found| only.is_none_or(|only| only == *found)) else {
            continue;
        };
        // A secret among public keys is a mistake, unless it is said that tokens are checked with secrets.
        if algorithm == Algorithm::HS256 && only.is_none() {
            continue;
        }
        let id = jwk.common.key_id.clone();
        let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("key {id:?}: {error}"))?;
        let source = serde_json::to_vec(jwk).map_err(|error| error.to_string())?;
        keys.push(Key { id, algorithm, key, source, revoked: CancellationToken::new() });
    }
    if keys.is_empty() {
        return Err(
            "it has no key that can be used (RS256, ES256, EdDSA, or HS256 where jwt_algorithm says so)"
                .into(),
        );
    }
    Ok(keys)
}

/// What a key of a set is for: what it says, as far as that fits its kind.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let fits = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        _ => return None,
    };
    let said = jwk.common.key_algorithm.map(|said| said.to_string());
    said.is_none_or(|said| said == format!("{fits:?}")).then_some(fits)
}

#[cfg(test)]
mod tests;
