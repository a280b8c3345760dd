//! The part of the section `gateway` that says who may call.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use runtime::config::Reader;

use super::{jwt::JwtConfig, origin::Origins};

/// Who may call.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessConfig {
    /// Whether callers need a key or a token.
    pub required: bool,
    /// The file of API keys.
    pub keys: Option<PathBuf>,
    /// How tokens are checked.
    pub(crate) jwt: Option<JwtConfig>,
    /// The pages that may call.
    pub(crate) origins: Origins,
    /// How long a WebSocket client may take to send its key or token.
    pub auth_timeout: Duration,
}

impl AccessConfig {
    /// Reads it. Nobody else can reach a loopback address, and there nothing is asked for unless keys are named; anywhere
    /// else going without has to be said.
    pub(crate) fn read(reader: &mut Reader<'_>, listen: SocketAddr) -> Self {
        let keys = reader.optional_path("keys");
        let jwt = JwtConfig::read(reader);
        let names = reader.list("origins", &[]);
        let origins = Origins::parse(&names).unwrap_or_else(|why| {
            reader.conflict("origins", why);
            Origins::default()
        });
        let allowed = "`auto`, `required` or `off`";
        let mode = |text: &str| match text {
            "auto" => Ok(Mode::Auto),
            "required" => Ok(Mode::Required),
            "off" => Ok(Mode::Off),
            _ => Err(""),
        };
        let mode = reader.parsed("auth", "auto", allowed, mode).unwrap_or(Mode::Off);
        let has_keys = keys.is_some() || jwt.is_some();
        let required = match mode {
            Mode::Off => false,
            Mode::Required | Mode::Auto if has_keys => true,
            Mode::Auto if listen.ip().is_loopback() => false,
            Mode::Auto => {
                reader.conflict(
                    "auth",
                    format!(
                        "gateway.listen is {listen}, which other machines can reach: name a file of keys \
                         (gateway.keys, --keys) or a key for tokens (gateway.jwt_key_file), or let anybody in with \
                         gateway.auth = \"off\""
                    ),
                );
                true
            }
            Mode::Required => {
                reader.conflict("auth", "needs gateway.keys or gateway.jwt_key_file, or nobody could call");
                true
            }
        };
        let second = Duration::from_secs(1);
        Self {
            required,
            keys,
            jwt,
            origins,
            auth_timeout: reader.duration("auth_timeout", second * 10, second..=second * 300),
        }
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Auto,
    Required,
    Off,
}
