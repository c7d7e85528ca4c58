//! Limits of connections, and the settings of the stand-alone binary: every one is a flag, an environment variable and a
//! line of a TOML file, in this order of precedence. Refuses unknown keys.

use crate::intake::SpoolSettings;
use crate::listeners::Listener;
use crate::tls::TlsFiles;
use clap::Args;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What one listener allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// Longest message, in bytes without its frame; a longer one is answered AR.
    pub max_message_bytes: usize,
    /// Connections beyond this are closed at once.
    pub max_connections: usize,
    /// Messages that are worked on at a time; further ones wait their turn, and their senders for the answer.
    pub max_messages_in_work: usize,
    /// Messages above 64 kB that may be in memory at a time; the others wait in TCP.
    pub max_large_messages: usize,
    /// A connection on which nothing arrives for so long, between two messages, is closed.
    pub idle_timeout_ms: u64,
    /// A connection on which nothing arrives for so long, within a message, is closed.
    pub read_timeout_ms: u64,
    /// A peer that does not take its acknowledgement for so long loses the connection.
    pub write_timeout_ms: u64,
    /// Bytes outside frames that a connection may send before it is closed: such a peer does not speak MLLP.
    pub max_junk_bytes: usize,
    /// How long a shutdown waits for messages in work.
    pub shutdown_grace_ms: u64,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        ConnectionSettings {
            max_message_bytes: 10 * 1024 * 1024,
            max_connections: 2_000,
            max_messages_in_work: 8,
            max_large_messages: 16,
            // Interfaces are quiet at night; dead peers are found by TCP keep-alive long before.
            idle_timeout_ms: 24 * 3_600_000,
            read_timeout_ms: 30_000,
            write_timeout_ms: 30_000,
            max_junk_bytes: 64 * 1024,
            shutdown_grace_ms: 30_000,
        }
    }
}

/// Everything that can be set for the stand-alone binary; what is not given has the default in [`ConnectionSettings`],
/// [`crate::submit::HttpSettings`] or [`crate::message::TextOptions`].
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address to listen on [default: 127.0.0.1:2575].
    #[arg(long, env = "FHIR_MLLP_ADDR")]
    pub mllp_addr: Option<SocketAddr>,
    /// Address for operators over HTTP: /health/live, /health/ready and /metrics [default: none].
    #[arg(long, env = "FHIR_MLLP_HTTP_ADDR")]
    pub mllp_http_addr: Option<SocketAddr>,
    /// Base of the FHIR server, such as http://127.0.0.1:8080/fhir.
    #[arg(long, env = "FHIR_SERVER_URL")]
    pub server_url: Option<String>,
    /// Folder with hl7v2/ in it [default: mappings].
    #[arg(long, env = "FHIR_MAPPINGS_DIR")]
    pub mappings_dir: Option<PathBuf>,
    /// File with the secret that derived ids are made with; the same for all listeners of a site.
    #[arg(long, env = "FHIR_SITE_SECRET_FILE")]
    pub site_secret_file: Option<PathBuf>,
    /// PEM file with the listener's certificate and its chain: connections are TLS.
    #[arg(long, env = "FHIR_MLLP_TLS_CERTIFICATE_FILE")]
    pub mllp_tls_certificate_file: Option<PathBuf>,
    /// PEM file with the key of the certificate.
    #[arg(long, env = "FHIR_MLLP_TLS_KEY_FILE")]
    pub mllp_tls_key_file: Option<PathBuf>,
    /// PEM file with authorities: clients need a certificate of one of them.
    #[arg(long, env = "FHIR_MLLP_TLS_CLIENT_AUTHORITIES_FILE")]
    pub mllp_tls_client_authorities_file: Option<PathBuf>,
    /// YAML file with further listeners, each with its address, certificates and senders.
    #[arg(long, env = "FHIR_MLLP_LISTENERS_FILE")]
    pub mllp_listeners_file: Option<PathBuf>,
    /// Folder where messages are kept that are acknowledged before they are applied.
    #[arg(long, env = "FHIR_MLLP_SPOOL_DIR")]
    pub mllp_spool_dir: Option<PathBuf>,
    /// Most bytes of messages that wait in the spool [default: 67108864].
    #[arg(long, env = "FHIR_MLLP_SPOOL_MAX_BYTES")]
    pub mllp_spool_max_bytes: Option<usize>,
    /// Longest message in bytes [default: 10485760].
    #[arg(long, env = "FHIR_MLLP_MAX_MESSAGE_BYTES")]
    pub mllp_max_message_bytes: Option<usize>,
    /// Most connections at a time of each listener [default: 2000].
    #[arg(long, env = "FHIR_MLLP_MAX_CONNECTIONS")]
    pub mllp_max_connections: Option<usize>,
    /// Most messages worked on at a time; others wait [default: 8].
    #[arg(long, env = "FHIR_MLLP_MAX_IN_WORK")]
    pub mllp_max_in_work: Option<usize>,
    /// Close connections that are idle for so long [default: 86400].
    #[arg(long, env = "FHIR_MLLP_IDLE_TIMEOUT_SECONDS")]
    pub mllp_idle_timeout_seconds: Option<u64>,
    /// Close connections that stop within a message for so long [default: 30].
    #[arg(long, env = "FHIR_MLLP_READ_TIMEOUT_SECONDS")]
    pub mllp_read_timeout_seconds: Option<u64>,
    /// Close connections that do not take their acknowledgement for so long [default: 30].
    #[arg(long, env = "FHIR_MLLP_WRITE_TIMEOUT_SECONDS")]
    pub mllp_write_timeout_seconds: Option<u64>,
    /// Wait so long for messages in work on shutdown [default: 30].
    #[arg(long, env = "FHIR_MLLP_SHUTDOWN_GRACE_SECONDS")]
    pub mllp_shutdown_grace_seconds: Option<u64>,
    /// Longest wait for an answer of the FHIR server [default: 20].
    #[arg(long, env = "FHIR_SERVER_TIMEOUT_SECONDS")]
    pub server_timeout_seconds: Option<u64>,
}

/// A settings file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Parse {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
}

impl Settings {
    /// From a TOML file.
    pub fn read(path: &Path) -> Result<Settings, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| SettingsError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// These settings, and `file`'s where these say nothing.
    pub fn or(self, file: Settings) -> Settings {
        Settings {
            mllp_addr: self.mllp_addr.or(file.mllp_addr),
            mllp_http_addr: self.mllp_http_addr.or(file.mllp_http_addr),
            server_url: self.server_url.or(file.server_url),
            mappings_dir: self.mappings_dir.or(file.mappings_dir),
            site_secret_file: self.site_secret_file.or(file.site_secret_file),
            mllp_tls_certificate_file: self
                .mllp_tls_certificate_file
                .or(file.mllp_tls_certificate_file),
            mllp_tls_key_file: self.mllp_tls_key_file.or(file.mllp_tls_key_file),
            mllp_tls_client_authorities_file: self
                .mllp_tls_client_authorities_file
                .or(file.mllp_tls_client_authorities_file),
            mllp_listeners_file: self.mllp_listeners_file.or(file.mllp_listeners_file),
            mllp_spool_dir: self.mllp_spool_dir.or(file.mllp_spool_dir),
            mllp_spool_max_bytes: self.mllp_spool_max_bytes.or(file.mllp_spool_max_bytes),
            mllp_max_message_bytes: self.mllp_max_message_bytes.or(file.mllp_max_message_bytes),
            mllp_max_connections: self.mllp_max_connections.or(file.mllp_max_connections),
            mllp_max_in_work: self.mllp_max_in_work.or(file.mllp_max_in_work),
            mllp_idle_timeout_seconds: self
                .mllp_idle_timeout_seconds
                .or(file.mllp_idle_timeout_seconds),
            mllp_read_timeout_seconds: self
                .mllp_read_timeout_seconds
                .or(file.mllp_read_timeout_seconds),
            mllp_write_timeout_seconds: self
                .mllp_write_timeout_seconds
                .or(file.mllp_write_timeout_seconds),
            mllp_shutdown_grace_seconds: self
                .mllp_shutdown_grace_seconds
                .or(file.mllp_shutdown_grace_seconds),
            server_timeout_seconds: self.server_timeout_seconds.or(file.server_timeout_seconds),
        }
    }

    /// Where to listen: at the address that is set, and where the file of listeners says. With a file and no address, there alone.
    ///
    /// # Errors
    /// Half of what TLS needs, or a file that cannot be used.
    pub fn listeners(&self) -> Result<Vec<Listener>, String> {
        let file = self.mllp_listeners_file.as_deref();
        let default = file
            .is_none()
            .then(|| SocketAddr::from(([127, 0, 0, 1], 2575)));
        let tls = TlsFiles::of(
            self.mllp_tls_certificate_file.clone(),
            self.mllp_tls_key_file.clone(),
            self.mllp_tls_client_authorities_file.clone(),
        )?;
        Listener::all(self.mllp_addr.or(default), tls, file)
    }

    /// The spool, if there is to be one.
    pub fn spool(&self) -> Option<SpoolSettings> {
        let mut settings = SpoolSettings::at(self.mllp_spool_dir.clone()?);
        settings.max_bytes = self.mllp_spool_max_bytes.unwrap_or(settings.max_bytes);
        Some(settings)
    }

    /// The limits of connections.
    pub fn connections(&self) -> ConnectionSettings {
        let default = ConnectionSettings::default();
        let ms = |seconds: Option<u64>, default_ms| {
            seconds.map_or(default_ms, |s| s.saturating_mul(1000))
        };
        ConnectionSettings {
            max_message_bytes: self
                .mllp_max_message_bytes
                .unwrap_or(default.max_message_bytes),
            max_connections: self.mllp_max_connections.unwrap_or(default.max_connections),
            max_messages_in_work: self
                .mllp_max_in_work
                .unwrap_or(default.max_messages_in_work)
                .max(1),
            idle_timeout_ms: ms(self.mllp_idle_timeout_seconds, default.idle_timeout_ms),
            read_timeout_ms: ms(self.mllp_read_timeout_seconds, default.read_timeout_ms),
            write_timeout_ms: ms(self.mllp_write_timeout_seconds, default.write_timeout_ms),
            shutdown_grace_ms: ms(self.mllp_shutdown_grace_seconds, default.shutdown_grace_ms),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str) -> Result<Settings, toml::de::Error> {
        toml::from_str(toml)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = parse("mllp_read_timeout_seconds = 5\nmllp_max_connections = 7").unwrap();
        let flags = Settings {
            mllp_max_connections: Some(9),
            ..Settings::default()
        };
        let found = flags.or(file).connections();
        let expect = ConnectionSettings {
            max_connections: 9,
            read_timeout_ms: 5_000,
            ..ConnectionSettings::default()
        };
        assert_eq!(found, expect);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(parse("mllp_adr = \"127.0.0.1:1\"").is_err());
        assert!(parse("mllp_addr = \"127.0.0.1\"").is_err());
        assert!(parse("mllp_max_connections = \"many\"").is_err());
    }

    #[test]
    fn every_setting_is_taken_over_from_the_file() {
        let file = "mllp_addr='127.0.0.1:1'\nmllp_http_addr='127.0.0.1:2'\nserver_url='u'\nmllp_tls_certificate_file='c'\nmllp_tls_key_file='k'\nmllp_tls_client_authorities_file='a'\n\
            mllp_listeners_file='l'\nmllp_spool_dir='d'\nmllp_spool_max_bytes=1\nmappings_dir='m'\nsite_secret_file='s'\nmllp_max_message_bytes=1\n\
            mllp_max_connections=1\nmllp_max_in_work=1\nmllp_idle_timeout_seconds=1\nmllp_read_timeout_seconds=1\nmllp_write_timeout_seconds=1\n\
            mllp_shutdown_grace_seconds=1\nserver_timeout_seconds=1";
        let settings = Settings::default().or(parse(file).unwrap());
        assert!(!format!("{settings:?}").contains("None"));
    }
}
