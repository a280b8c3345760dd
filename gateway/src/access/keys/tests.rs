use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use super::*;

fn new(name: &str) -> NewKey {
    NewKey {
        name: name.into(),
        products: vec!["BTC-USD".into()],
        expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)),
        quotas: Quotas { connections_max: 3.try_into().ok(), ..Quotas::default() },
    }
}

#[test]
fn what_is_created_is_read_again_and_the_key_itself_is_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let (first, key) = KeyFile::edit(&path, |file| file.create(new("first"), now)).unwrap().unwrap();
    let (second, _) = KeyFile::edit(&path, |file| file.create(new("second"), now)).unwrap().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(&key) && !text.contains(key.rsplit('_').next().unwrap()), "{text}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let file = KeyFile::read(&path).unwrap();
    assert_eq!(file.keys, [first.clone(), second.clone()]);
    assert_eq!(id_of(&key), Some(first.id.as_str()));
    assert!(first.is(&key) && !second.is(&key) && !first.is(&key.replace("lf_", "LF_")));
    let revoked = KeyFile::edit(&path, |file| file.revoke(&first.id)).unwrap();
    assert_eq!(revoked, Some(first));
    assert_eq!(KeyFile::read(&path).unwrap().keys, [second]);
}

#[test]
fn what_cannot_be_a_key_is_recognised_before_anything_is_hashed() {
    for bad in ["", "lf_", "lf_0_1", "lf_00000000_", "xx_00000000_00", "a.b.c", &"x".repeat(100_000)] {
        assert_eq!(id_of(bad), None, "{bad:.20}");
    }
}

#[test]
fn faulty_files_are_refused_with_the_key_at_fault() {
    let key = |id: &str, sha256: &str, products: &str| {
        format!(
            "[[key]]\nid = \"{id}\"\nname = \"x\"\nsha256 = \"{sha256}\"\nproducts = [\"{products}\"]\ncreated = \"2026-01-01T00:00:00Z\"\n"
        )
    };
    let hash = "0".repeat(64);
    let good = key("00000001", &hash, "*");
    assert!(KeyFile::parse(&good).is_ok());
    for (bad, says) in [
        (key("1", &hash, "*"), "8 hexadecimal"),
        (key("00000001", "abc", "*"), "64 hexadecimal"),
        (key("00000001", &hash, "B T C"), "B T C"),
        (format!("{good}{good}"), "twice"),
        (format!("{good}colour = 1\n"), "colour"),
        (good.replace("2026-01-01T00:00:00Z", "yesterday"), "yesterday"),
        ("keys = 1".to_owned(), "keys"),
    ] {
        let error = KeyFile::parse(&bad).unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
    }
}
