use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{hmac, rand::SystemRandom, signature};
use serde_json::{Value, json};

use super::*;

const RSA: &[u8] = include_bytes!("../../../tests/data/rsa-for-tests-only.pem");
const RSA_PUBLIC: &str = include_str!("../../../tests/data/rsa-for-tests-only.pub.pem");
const SECRET: &[u8] = b"thirty-two bytes are enough of it";

/// A token over `claims`, signed by whatever `sign` is.
fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = BASE64.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn hs256(secret: &[u8]) -> impl FnOnce(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

fn rs256(message: &[u8]) -> Vec<u8> {
    let pem = std::str::from_utf8(RSA).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    let key = signature::RsaKeyPair::from_pkcs8(&der).unwrap();
    let mut signed = vec![0; key.public().modulus_len()];
    key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signed).unwrap();
    signed
}

fn in_an_hour() -> u64 {
    jsonwebtoken::get_current_timestamp() + 3_600
}

fn claims() -> Value {
    json!({"sub": "alice", "exp": in_an_hour()})
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn config(path: &Path, algorithm: Option<Algorithm>) -> JwtConfig {
    JwtConfig { key_file: path.to_owned(), algorithm, issuer: None, audience: None }
}

/// A verifier whose file has `content`; the folder has to outlive it.
fn verifier(content: &[u8], algorithm: Option<Algorithm>) -> (tempfile::TempDir, Verifier) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, content).unwrap();
    let verifier = Verifier::open(config(&path, algorithm)).unwrap();
    (folder, verifier)
}

fn invalid(outcome: Result<Verified, Refused>) -> &'static str {
    match outcome.unwrap_err() {
        Refused::Invalid(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_algorithm_checks_what_its_own_key_signed_and_nothing_else() {
    let es256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let eddsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let sign_es256 = |message: &[u8]| {
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = SystemRandom::new();
        let key = signature::EcdsaKeyPair::from_pkcs8(algorithm, &es256.serialize_der(), &random).unwrap();
        key.sign(&random, message).unwrap().as_ref().to_vec()
    };
    let sign_eddsa = |message: &[u8]| {
        let key = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&eddsa.serialize_der()).unwrap();
        key.sign(message).as_ref().to_vec()
    };
    type Sign<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let kinds: [(Algorithm, Vec<u8>, Sign<'_>); 4] = [
        (Algorithm::HS256, SECRET.to_vec(), &|message| hs256(SECRET)(message)),
        (Algorithm::RS256, RSA_PUBLIC.as_bytes().to_vec(), &rs256),
        (Algorithm::ES256, es256.public_key_pem().into_bytes(), &sign_es256),
        (Algorithm::EdDSA, eddsa.public_key_pem().into_bytes(), &sign_eddsa),
    ];
    for (algorithm, key, sign) in &kinds {
        let (_folder, verifier) = verifier(key, Some(*algorithm));
        let header = json!({"alg": format!("{algorithm:?}"), "typ": "JWT"});
        let good = token(&header, &claims(), sign);
        assert_eq!(verifier.verify(&good).unwrap().subject, "alice", "{algorithm:?}");
        // The signature of another message, and no signature.
        let (message, signed) = good.rsplit_once('.').unwrap();
        let forged = token(&header, &with("sub", json!("mallory")), |_| BASE64.decode(signed).unwrap());
        assert_eq!(invalid(verifier.verify(&forged)), "its signature does not fit", "{algorithm:?}");
        assert_eq!(invalid(verifier.verify(&format!("{message}."))), "its signature does not fit");
        // Everybody else's.
        for (other, _, sign) in kinds.iter().filter(|(other, _, _)| other != algorithm) {
            let foreign = token(&json!({"alg": format!("{other:?}")}), &claims(), sign);
            assert_eq!(
                invalid(verifier.verify(&foreign)),
                "its algorithm is not that of the key",
                "{other:?} at {algorithm:?}"
            );
        }
        let none = token(&json!({"alg": "none"}), &claims(), |_| Vec::new());
        assert!(matches!(verifier.verify(&none), Err(Refused::Invalid(_))), "{algorithm:?}");
    }
    // The public key as a secret: the confusion of algorithms.
    let (_folder, verifier) = verifier(RSA_PUBLIC.as_bytes(), Some(Algorithm::RS256));
    let confused = token(&json!({"alg": "HS256"}), &claims(), hs256(RSA_PUBLIC.as_bytes()));
    assert_eq!(invalid(verifier.verify(&confused)), "its algorithm is not that of the key");
}

#[test]
fn claims_are_checked_and_say_what_the_holder_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let strict = JwtConfig {
        issuer: Some("issuer".into()),
        audience: Some("ledgerflux".into()),
        ..config(&path, Some(Algorithm::HS256))
    };
    let (open, strict) =
        (Verifier::open(config(&path, Some(Algorithm::HS256))).unwrap(), Verifier::open(strict).unwrap());
    let header = json!({"alg": "HS256"});
    let make = |claims: &Value| token(&header, claims, hs256(SECRET));
    let mut full = claims();
    full["iss"] = json!("issuer");
    full["aud"] = json!(["other", "ledgerflux"]);
    full["products"] = json!(["BTC-USD"]);
    full["quotas"] = json!({"connections_max": 2});
    let verified = strict.verify(&make(&full)).unwrap();
    assert!(matches!(&verified.granted, Granted::These(these) if these.len() == 1));
    assert_eq!(verified.quotas.connections_max.unwrap().get(), 2);
    assert!(verified.expires > super::super::keys::now());
    assert_eq!(open.verify(&make(&claims())).unwrap().granted, Granted::All);

    let past = jsonwebtoken::get_current_timestamp() - 60;
    assert_eq!(open.verify(&make(&with("exp", json!(past)))).unwrap_err(), Refused::Expired);
    for (claims, says) in [
        (with("nbf", json!(in_an_hour())), "it is not valid yet (nbf)"),
        (with("aud", json!("somebody else")), "it is for somebody else (aud)"),
        (json!({"sub": "alice"}), "a claim has another type than it should"),
        (json!({"exp": in_an_hour()}), "a claim has another type than it should"),
        (with("exp", json!("tomorrow")), "a claim has another type than it should"),
        (with("nbf", json!("tomorrow")), "a claim has another type than it should"),
        (with("sub", json!("")), "sub is empty or too long"),
        (with("sub", json!("x".repeat(300))), "sub is empty or too long"),
        (with("products", json!("*")), "a claim has another type than it should"),
        (with("products", json!(["B T C"])), "products names what can be no product"),
        (with("quotas", json!({"everything": 1})), "a claim has another type than it should"),
    ] {
        assert_eq!(invalid(open.verify(&make(&claims))), says, "{claims}");
    }
    for claims in [claims(), with("iss", json!("other"))] {
        assert!(matches!(strict.verify(&make(&claims)), Err(Refused::Invalid(_))), "{claims}");
    }
    for garbage in
        ["", "a", "a.b", "a.b.c", "....", "é.é.é", &"x".repeat(10_000), "eyJhbGciOiJIUzI1NiJ9..", "\0.\0.\0"]
    {
        assert!(matches!(open.verify(garbage), Err(Refused::Invalid(_))), "{garbage:.30}");
    }
}

#[test]
fn a_set_of_keys_is_followed_as_it_changes() {
    let pair = |id: &str| {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let x = BASE64.encode(pair.public_key_raw());
        (json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "alg": "EdDSA", "use": "sig", "x": x}), pair)
    };
    let make = |id: &str, pair: &rcgen::KeyPair| {
        token(&json!({"alg": "EdDSA", "kid": id}), &claims(), |message| {
            let key = signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pair.serialize_der()).unwrap();
            key.sign(message).as_ref().to_vec()
        })
    };
    let ((first, first_pair), (second, second_pair)) = (pair("1"), pair("2"));
    // A secret among public keys is passed over, and so is a kind of key that is not for tokens.
    let secret = json!({"kty": "oct", "kid": "3", "k": BASE64.encode(SECRET)});
    let odd = json!({"kty": "EC", "crv": "P-384", "kid": "4", "x": "AA", "y": "AA"});
    let (folder, before) =
        verifier(json!({"keys": [first, second, secret, odd]}).to_string().as_bytes(), None);
    let by_first = before.verify(&make("1", &first_pair)).unwrap();
    let by_second = before.verify(&make("2", &second_pair)).unwrap();
    assert_eq!(invalid(before.verify(&make("2", &first_pair))), "its signature does not fit");
    assert_eq!(invalid(before.verify(&make("9", &first_pair))), "it names no key that is known here");
    let by_secret = token(&json!({"alg": "HS256", "kid": "3"}), &claims(), hs256(SECRET));
    assert_eq!(invalid(before.verify(&by_secret)), "it names no key that is known here");

    assert!(before.reopened().unwrap().is_none());
    std::fs::write(folder.path().join("key"), json!({"keys": [second]}).to_string()).unwrap();
    let after = before.reopened().unwrap().unwrap();
    assert!(by_first.revoked.is_cancelled() && !by_second.revoked.is_cancelled());
    assert!(after.verify(&make("2", &second_pair)).is_ok());
    assert!(after.verify(&make("1", &first_pair)).is_err());
    std::fs::write(folder.path().join("key"), "{").unwrap();
    assert!(after.reopened().is_err() && !by_second.revoked.is_cancelled());
}

#[test]
fn files_that_hold_no_key_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    for (content, algorithm, says) in [
        (b"short".as_slice(), Some(Algorithm::HS256), "at least 32 bytes"),
        (RSA_PUBLIC.as_bytes(), Some(Algorithm::HS256), "PEM file"),
        (RSA_PUBLIC.as_bytes(), None, "jwt_algorithm"),
        (SECRET, Some(Algorithm::RS256), "no key for RS256"),
        (RSA_PUBLIC.as_bytes(), Some(Algorithm::EdDSA), "no key for EdDSA"),
        (b"{\"keys\":[]}", None, "no key that can be used"),
    ] {
        std::fs::write(&path, content).unwrap();
        let error = Verifier::open(config(&path, algorithm)).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(matches!(Verifier::open(config(&folder.path().join("none"), None)), Err(AccessError::Io { .. })));
}
