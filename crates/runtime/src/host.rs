//! The name of the machine or pod, the ordinal in it, and a name for this process.

use std::path::Path;

/// Long enough for any pod name; longer ones would make subjects and labels unwieldy.
const INSTANCE_HOST_CHARS_MAX: usize = 63;

/// The host name: in a cluster the name of the pod. `localhost` when the system does not tell.
pub fn name() -> String {
    std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname"))
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// The ordinal at the end of a stateful pod's name: 3 of `normalizer-3`.
pub fn ordinal(host_name: &str) -> Option<u64> {
    let (_, digits) = host_name.split('.').next()?.rsplit_once('-')?;
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A name for this process that no other start of it has had: the host name and eight random hexadecimal digits. It
/// holds only letters, digits, `-` and `_`, so that it may stand in a subject.
pub fn instance() -> String {
    let host: String = name()
        .chars()
        .take(INSTANCE_HOST_CHARS_MAX)
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' })
        .collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{host}-{}", random.get(..8).unwrap_or(&random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ordinal_is_the_number_after_the_last_hyphen() {
        assert_eq!(ordinal("normalizer-0"), Some(0));
        assert_eq!(ordinal("ledgerflux-normalizer-12.ledgerflux.svc"), Some(12));
        for name in
            ["normalizer", "normalizer-", "normalizer-x", "normalizer-+1", "gateway-7d9f8b6c5-x2k4z", ""]
        {
            assert_eq!(ordinal(name), None, "{name}");
        }
    }

    #[test]
    fn an_instance_is_unique_and_fits_into_a_subject() {
        let instance = instance();
        assert_ne!(instance, super::instance());
        assert!(
            instance.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "{instance}"
        );
    }
}
