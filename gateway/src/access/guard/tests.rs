use std::{path::Path, time::SystemTime};

use super::*;
use crate::access::keys::NewKey;

fn create(path: &Path, name: &str, expires: Option<SystemTime>) -> (KeyRecord, String) {
    let new =
        NewKey { name: name.into(), products: vec!["BTC-USD".into()], expires, quotas: Quotas::default() };
    KeyFile::edit(path, |file| file.create(new, keys::now())).unwrap().unwrap()
}

fn guard(keys: Option<&Path>, is_required: bool) -> Guard {
    Guard::open(AccessConfig {
        required: is_required,
        keys: keys.map(Path::to_owned),
        jwt: None,
        origins: Origins::default(),
        auth_timeout: Duration::from_secs(1),
    })
    .unwrap()
}

#[test]
fn keys_let_in_until_they_expire_are_changed_or_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let (kept, kept_key) = create(&path, "kept", None);
    let (changed, changed_key) = create(&path, "changed", None);
    let (gone, gone_key) = create(&path, "gone", None);
    let (_, old_key) = create(&path, "old", Some(SystemTime::UNIX_EPOCH));
    let guard = guard(Some(&path), true);
    let caller = guard.check(Some(&kept_key)).unwrap();
    assert_eq!(caller.name(), kept.id);
    let (changed_caller, gone_caller) =
        (guard.check(Some(&changed_key)).unwrap(), guard.check(Some(&gone_key)).unwrap());
    assert_eq!(guard.check(Some(&old_key)).unwrap_err(), Refused::Expired);
    assert_eq!(guard.check(None).unwrap_err(), Refused::Missing);
    assert_eq!(guard.check(Some("")).unwrap_err(), Refused::Missing);
    let forged =
        format!("{}{}", &kept_key[..kept_key.len() - 1], if kept_key.ends_with('0') { '1' } else { '0' });
    for unknown in ["garbage", "a.b.c", forged.as_str(), &kept_key.replace(&kept.id, &gone.id)] {
        assert_eq!(guard.check(Some(unknown)).unwrap_err(), Refused::Unknown, "{unknown}");
    }

    KeyFile::edit(&path, |file| {
        file.revoke(&gone.id);
        for key in file.keys.iter_mut().filter(|key| key.id == changed.id) {
            key.products = vec!["*".into()];
        }
    })
    .unwrap();
    guard.look().unwrap();
    let now = keys::now();
    assert_eq!(caller.has_ended(now), None);
    assert_eq!(changed_caller.has_ended(now), Some(Ended::Revoked));
    assert_eq!(gone_caller.has_ended(now), Some(Ended::Revoked));
    assert_eq!(guard.check(Some(&changed_key)).unwrap().only(), None);
    assert_eq!(guard.check(Some(&gone_key)).unwrap_err(), Refused::Unknown);

    // A file that cannot be used changes nothing.
    std::fs::write(&path, "nonsense").unwrap();
    assert!(guard.look().is_err());
    assert!(guard.check(Some(&kept_key)).is_ok());
}

#[test]
fn where_nobody_is_asked_everybody_is_anonymous() {
    let guard = guard(None, false);
    for credential in [None, Some("garbage"), Some("")] {
        assert!(guard.check(credential).unwrap().is_anybody());
    }
}

#[test]
fn the_tokens_of_one_subject_share_its_connections() {
    let guard = guard(None, true);
    let quotas = Quotas { connections_max: 1.try_into().ok(), ..Quotas::default() };
    let first = guard.usage("alice", &quotas);
    assert!(Arc::ptr_eq(&first, &guard.usage("alice", &quotas)));
    assert!(!Arc::ptr_eq(&first, &guard.usage("bob", &quotas)));
    drop(first);
    for subject in 0..SUBJECTS_MAX + 10 {
        drop(guard.usage(&subject.to_string(), &quotas));
    }
    assert!(guard.0.subjects.lock().unwrap().len() <= SUBJECTS_MAX);
}
