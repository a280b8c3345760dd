/// What stands in the place of something secret.
pub(super) const MASK: &str = "***";

/// Query parameters of database and broker URLs that hold a secret.
const SECRET_PARAMETERS: [&str; 4] = ["password=", "sslpassword=", "token=", "passfile="];

/// `text` with the password of a URL in it replaced by `***`, for logs, problems and `config print`.
///
/// It rather hides too much than too little: everything between the first colon after `://` and the last `@` goes, which
/// also covers a list of URLs and a password with unescaped characters. A user part without a colon is hidden for the
/// NATS schemes, where it is a token.
pub fn redact(text: &str) -> String {
    let mut result = redact_user(text).unwrap_or_else(|| text.to_owned());
    for parameter in SECRET_PARAMETERS {
        result = redact_parameter(&result, parameter);
    }
    result
}

fn redact_user(text: &str) -> Option<String> {
    let scheme_end = text.find("://")?;
    let (scheme, rest) = text.split_at(scheme_end + "://".len());
    let (user, host) = rest.rsplit_once('@')?;
    let shown = match user.split_once(':') {
        Some((name, _)) => format!("{name}:{MASK}"),
        None if matches!(scheme, "nats://" | "tls://") => MASK.to_owned(),
        None => user.to_owned(),
    };
    Some(format!("{scheme}{shown}@{host}"))
}

fn redact_parameter(text: &str, parameter: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.to_ascii_lowercase().find(parameter) {
        let (before, after) = rest.split_at(start + parameter.len());
        result.push_str(before);
        result.push_str(MASK);
        rest = &after[after.find(['&', ' ', '#', '"']).unwrap_or(after.len())..];
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_the_rest_is_kept() {
        for (text, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://ingestor:s3cret@bus:4222", "nats://ingestor:***@bus:4222"),
            ("nats://s3cret@bus:4222", "nats://***@bus:4222"),
            ("postgres://flux@db/flux", "postgres://flux@db/flux"),
            (
                "postgres://flux:a/b@c:d@db/flux?sslmode=require",
                "postgres://flux:***@db/flux?sslmode=require",
            ),
            (
                "postgres://db/flux?user=flux&password=s3cret&x=1",
                "postgres://db/flux?user=flux&password=***&x=1",
            ),
            ("nats://a:s3cret@h1,nats://b:s3cret@h2", "nats://a:***@h2"),
            ("sqlite://path?mode=rwc", "sqlite://path?mode=rwc"),
            ("host=db password=s3cret dbname=x", "host=db password=*** dbname=x"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }
}
