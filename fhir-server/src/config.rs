//! Every setting, once, as data: the table below makes the struct, the flags, the variables, the file keys and `docs/settings.md`.
//!
//! A flag wins over the environment, the environment over the file, the file over the default. Unknown file keys and unreadable
//! values stop the start. Every limit of the server stands here with its unit.

use crate::cors::Origins;
use crate::policy::{
    ClientIds, ConditionalDelete, Integrity, MetaOnUpdate, NoOp, Types, VersionedReferences,
};
use crate::setting::{Setting, SettingError, SettingValue};
use fhir_search::Handling;
use fhir_storage::{AskedFor, ElasticSettings, Freshness, Joins, WhenDown};
use hl7_mllp_listener::intake::SpoolSettings;
use hl7_mllp_listener::listeners::Listener;
use hl7_mllp_listener::settings::ConnectionSettings;
use hl7_mllp_listener::tls::TlsFiles;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

macro_rules! settings {
    ($($key:ident: $type:ty = $default:literal, $variable:literal, $unit:literal, $meaning:literal;)*) => {
        /// The settings, read and checked.
        #[derive(Clone, Debug)]
        pub struct Config {
            $(#[doc = $meaning] pub $key: $type,)*
        }

        /// The table of all settings.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            key: stringify!($key), variable: $variable, default: $default, unit: $unit, meaning: $meaning,
        },)*];

        impl Config {
            /// Reads each setting's text, or its default.
            ///
            /// # Errors
            /// One [`SettingError`] per unreadable value.
            pub fn read(texts: &HashMap<&'static str, String>) -> Result<Config, Vec<SettingError>> {
                let mut errors = Vec::new();
                $(let $key = <$type>::read(texts.get(stringify!($key)).map_or($default, String::as_str))
                    .map_err(|reason| errors.push(SettingError { name: $variable.to_string(), reason }));)*
                match ($($key,)*) {
                    ($(Ok($key),)*) => Ok(Config { $($key,)* }),
                    _ => Err(errors),
                }
            }
        }
    };
}

settings! {
    http_addr: SocketAddr = "127.0.0.1:8080", "FHIR_HTTP_ADDR", "host:port", "Where HTTP listens. The FHIR base is `/fhir`; also `/health/live`, `/health/ready` and `/metrics`.";
    mllp_addr: Option<SocketAddr> = "127.0.0.1:2575", "FHIR_MLLP_ADDR", "host:port", "Where the embedded HL7 v2 listener listens; `off` disables it.";
    data_dir: PathBuf = "./data", "FHIR_DATA_DIR", "path", "The private Postgres and its socket live here.";
    database_url: Option<String> = "", "DATABASE_URL", "URL", "An existing PostgreSQL 15 or later; empty: a private one in the data directory.";
    elasticsearch_url: Option<Urls> = "", "ELASTICSEARCH_URL", "URLs", "An Elasticsearch 8 or 9, nodes comma separated: searches are answered from an index there (docs/elasticsearch.md); empty: Postgres answers all.";
    elasticsearch_user: Option<String> = "", "ELASTICSEARCH_USER", "", "User of the cluster, with `ELASTICSEARCH_PASSWORD`.";
    elasticsearch_password: Option<String> = "", "ELASTICSEARCH_PASSWORD", "", "That user's password.";
    elasticsearch_api_key: Option<String> = "", "ELASTICSEARCH_API_KEY", "", "An API key as Elasticsearch gives it (`encoded`), in place of user and password.";
    elasticsearch_ca_file: Option<PathBuf> = "", "ELASTICSEARCH_CA_FILE", "path", "A PEM file with authorities of the cluster's certificates, beside those of the Mozilla list.";
    elasticsearch_index: String = "fhir", "ELASTICSEARCH_INDEX", "", "What the names of the indexes begin with, and the alias of the one that is searched: each site of a cluster has its own.";
    elasticsearch_shards: u32 = "1", "ELASTICSEARCH_SHARDS", "shards", "Shards of an index that is made.";
    elasticsearch_search_timeout_ms: u64 = "2000", "ELASTICSEARCH_SEARCH_TIMEOUT_MS", "ms", "How long the cluster may take for a search; longer, and Postgres answers.";
    elasticsearch_bulk_timeout_ms: u64 = "60000", "ELASTICSEARCH_BULK_TIMEOUT_MS", "ms", "How long the cluster may take for a part of a batch that is written.";
    elasticsearch_freshness: Freshness = "strong", "ELASTICSEARCH_FRESHNESS", "", "`strong`: a search sees every write that was acknowledged before it; `eventual`: what the index has, some tenths of a second later.";
    elasticsearch_when_down: WhenDown = "postgres", "ELASTICSEARCH_WHEN_DOWN", "", "Who answers searches while the cluster does not: `postgres`, or nobody (`refuse`: 503).";
    elasticsearch_asked: AskedFor = "by-estimate", "ELASTICSEARCH_ASKED", "", "Which searches the index is asked for, of those that it can answer: `by-estimate` those that would be dearer in Postgres, by its statistics; `always` all of them.";
    elasticsearch_backlog_max: u64 = "5000000", "ELASTICSEARCH_BACKLOG_MAX", "changes", "Changes that wait for the cluster; beyond it the index is given up, and made anew when the cluster is back.";
    base_url: Option<String> = "", "FHIR_BASE_URL", "URL", "The public FHIR base behind a proxy, for Location, fullUrl, links and own-base references; empty: from the request.";
    trust_forwarded: bool = "false", "FHIR_TRUST_FORWARDED", "", "Take the public base from `X-Forwarded-Proto` and `X-Forwarded-Host`. Only behind a proxy that sets both.";
    mappings_dir: Option<PathBuf> = "", "FHIR_MAPPINGS_DIR", "path", "The mappings; empty: `mappings` in the working directory, else beside or above the executable. One must be there.";
    profiles_dir: Option<PathBuf> = "", "FHIR_PROFILES_DIR", "path", "Profiles, search parameters and operations; empty: `profiles`, found like the mappings.";
    terminology_dir: Option<PathBuf> = "", "FHIR_TERMINOLOGY_DIR", "path", "Code systems, value sets and concept maps; empty: `terminology`, found like the mappings.";
    site_secret_file: Option<PathBuf> = "", "FHIR_SITE_SECRET_FILE", "path", "A file with the secret that ids derived from v2 messages are made with, where stand-alone listeners share it; empty: the secret in the database.";
    hl7v2_http: bool = "true", "FHIR_HL7V2_HTTP", "", "Whether v2 messages are also taken in by `POST /hl7v2` (docs/mllp.md).";
    hl7v2_raw_days: Option<u32> = "off", "FHIR_HL7V2_RAW_DAYS", "days", "How long the journal keeps the bytes of v2 messages that were applied; `off`: for ever.";
    hl7v2_journal_days: Option<u32> = "off", "FHIR_HL7V2_JOURNAL_DAYS", "days", "How long the journal keeps its entries of v2 messages that were applied; one that comes again later is applied again. `off`: for ever.";
    hl7v2_unapplied_days: Option<u32> = "off", "FHIR_HL7V2_UNAPPLIED_DAYS", "days", "How long the journal keeps v2 messages that were refused or had no map; `off`: for ever.";
    mllp_message_max_bytes: usize = "10485760", "FHIR_MLLP_MAX_MESSAGE_BYTES", "bytes", "Longest v2 message; a longer one is answered AR.";
    mllp_connections_max: usize = "2000", "FHIR_MLLP_MAX_CONNECTIONS", "connections", "Open MLLP connections of each listener; further ones are closed at once.";
    mllp_in_work_max: usize = "8", "FHIR_MLLP_MAX_IN_WORK", "messages", "v2 messages that are worked on at one time; further ones wait, and their senders for the answer.";
    mllp_idle_timeout_seconds: u64 = "86400", "FHIR_MLLP_IDLE_TIMEOUT_SECONDS", "s", "How long an MLLP connection may be silent between two messages.";
    mllp_read_timeout_seconds: u64 = "30", "FHIR_MLLP_READ_TIMEOUT_SECONDS", "s", "How long an MLLP connection may stop within a message.";
    mllp_write_timeout_seconds: u64 = "30", "FHIR_MLLP_WRITE_TIMEOUT_SECONDS", "s", "How long a peer may take to accept its acknowledgement.";
    mllp_tls_certificate_file: Option<PathBuf> = "", "FHIR_MLLP_TLS_CERTIFICATE_FILE", "path", "A PEM file with the certificate of `FHIR_MLLP_ADDR` and its chain: connections are TLS.";
    mllp_tls_key_file: Option<PathBuf> = "", "FHIR_MLLP_TLS_KEY_FILE", "path", "A PEM file with the key of that certificate.";
    mllp_tls_client_authorities_file: Option<PathBuf> = "", "FHIR_MLLP_TLS_CLIENT_AUTHORITIES_FILE", "path", "A PEM file with authorities: clients need a certificate of one of them.";
    mllp_listeners_file: Option<PathBuf> = "", "FHIR_MLLP_LISTENERS_FILE", "path", "A YAML file with further listeners, each with its address, certificates and senders (docs/mllp.md).";
    mllp_spool_dir: Option<PathBuf> = "", "FHIR_MLLP_SPOOL_DIR", "path", "Where messages are kept that are acknowledged before they are applied (`ack: stored`, and what takes longer than the sender's deadline); empty: none are.";
    mllp_spool_max_bytes: usize = "67108864", "FHIR_MLLP_SPOOL_MAX_BYTES", "bytes", "Messages that wait in the spool, together; with more, connections are not read.";
    cors_origins: Origins = "*", "FHIR_CORS_ORIGINS", "origins", "Origins whose web pages browsers may let read answers, comma separated (`https://app.example.org`); `*` all, `none` none.";
    handling: Handling = "strict", "FHIR_HANDLING", "", "What an unknown search parameter is without `Prefer: handling`: `strict` an error, `lenient` ignored with a warning.";
    client_ids: ClientIds = "any", "FHIR_CLIENT_IDS", "", "Which ids clients may give resources that they create by PUT: `any`, `alphanumeric` those that are not digits only, `none`; others are a 405.";
    if_match_types: Types = "none", "FHIR_IF_MATCH_TYPES", "types", "Resource types, comma separated, that clients change and delete only with `If-Match`, else it is a 400; `*` all, `none` none.";
    no_op_update: NoOp = "keep", "FHIR_NO_OP_UPDATE", "", "What an update is that changes nothing: `keep` no new version, `version` one.";
    meta_on_update: MetaOnUpdate = "replace", "FHIR_META_ON_UPDATE", "", "Tags, security labels and profiles that are there when an update comes: `replace` them by those sent, `merge` them with those ($meta-delete and patches take them away).";
    reference_integrity: Integrity = "none", "FHIR_REFERENCE_INTEGRITY", "", "`write`: references to this server must lead to a resource that is there (422); `delete`: what a search finds as referred to is not deleted (409); `both`, `none`.";
    versioned_references: VersionedReferences = "keep", "FHIR_VERSIONED_REFERENCES", "", "References with a version (`Patient/1/_history/2`): `keep` as they are sent, `strip` the version but where the extension resolve-as-version-specific stands.";
    conditional_delete: ConditionalDelete = "single", "FHIR_CONDITIONAL_DELETE", "", "What `DELETE Type?criteria` may delete: `none` nothing (405), `single` one match (412 where there are more), `multiple` all.";
    conditional_delete_max: usize = "1000", "FHIR_CONDITIONAL_DELETE_MAX", "resources", "Most that one conditional delete of `multiple` may delete; more matches are a 422, and nothing is deleted.";
    history_deletion: bool = "false", "FHIR_HISTORY_DELETION", "", "Whether clients may delete older versions for good (`DELETE Type/id/_history` and `…/_history/version`); else it is a 405.";
    log_format: LogFormat = "json", "FHIR_LOG_FORMAT", "", "`json` or `pretty`.";
    log_level: String = "info", "FHIR_LOG_LEVEL", "", "`error`, `warn`, `info`, `debug` (one line per request), or filter directives.";
    body_max_bytes: usize = "33554432", "FHIR_BODY_MAX_BYTES", "bytes", "Longest request body; a longer one is a 413.";
    bodies_max_bytes: usize = "67108864", "FHIR_BODIES_MAX_BYTES", "bytes", "Request bodies held at one time, together; more wait. Understood, a body takes some ten times its bytes.";
    answers_max_bytes: usize = "67108864", "FHIR_ANSWERS_MAX_BYTES", "bytes", "Answers above 64 kB that wait to be taken by their clients, together; more wait.";
    url_max_bytes: usize = "32768", "FHIR_URL_MAX_BYTES", "bytes", "Longest path with query; a longer one is a 414.";
    bundle_entries_max: usize = "5000", "FHIR_BUNDLE_ENTRIES_MAX", "entries", "Most entries of a batch or transaction; more is a 422.";
    connections_max: usize = "4096", "FHIR_CONNECTIONS_MAX", "connections", "Open HTTP connections; on some further ones only health is told, and all else is a 503.";
    header_timeout_ms: u64 = "30000", "FHIR_HEADER_TIMEOUT_MS", "ms", "How long a connection may take to send a request's head, and stay idle.";
    body_timeout_ms: u64 = "30000", "FHIR_BODY_TIMEOUT_MS", "ms", "How long a request's body may take to arrive; longer is a 408.";
    send_timeout_ms: u64 = "60000", "FHIR_SEND_TIMEOUT_MS", "ms", "How long a client may take nothing of an answer; longer closes the connection.";
    request_timeout_ms: u64 = "60000", "FHIR_REQUEST_TIMEOUT_MS", "ms", "How long a request may work; longer is a 503.";
    requests_max: usize = "32", "FHIR_REQUESTS_MAX", "requests", "Requests that work at one time; further ones wait.";
    requests_waiting_max: usize = "256", "FHIR_REQUESTS_WAITING_MAX", "requests", "Requests that wait; more is a 429.";
    requests_wait_ms: u64 = "2000", "FHIR_REQUESTS_WAIT_MS", "ms", "How long a request waits for its turn; longer is a 503.";
    shutdown_timeout_ms: u64 = "20000", "FHIR_SHUTDOWN_TIMEOUT_MS", "ms", "How long running requests may finish after SIGTERM or SIGINT.";
    jobs_max: usize = "100", "FHIR_JOBS_MAX", "jobs", "Requests with `Prefer: respond-async` that are kept, done or not; more is a 429.";
    jobs_running_max: Option<usize> = "2", "FHIR_JOBS_RUNNING_MAX", "jobs", "Such requests that this server works on at one time; further ones wait. `off`: it leaves them to other servers of the database.";
    job_timeout_seconds: u64 = "3600", "FHIR_JOB_TIMEOUT_SECONDS", "s", "How long such a request may work.";
    job_result_max_bytes: usize = "33554432", "FHIR_JOB_RESULT_MAX_BYTES", "bytes", "Longest result of such a request; a longer one is a `too-costly`.";
    job_lifetime_seconds: u32 = "3600", "FHIR_JOB_LIFETIME_SECONDS", "s", "How long the result of such a request is kept.";
    count_default: usize = "20", "FHIR_COUNT_DEFAULT", "matches", "Matches on a page without `_count`.";
    count_max: usize = "1000", "FHIR_COUNT_MAX", "matches", "Most matches on a page; a larger `_count` gets this many.";
    page_lifetime_seconds: u64 = "86400", "FHIR_PAGE_LIFETIME_SECONDS", "s", "How long a `next` link is served; later is a 410.";
    write_connections: u32 = "8", "FHIR_WRITE_CONNECTIONS", "connections", "Database connections for reads and writes.";
    search_connections: u32 = "8", "FHIR_SEARCH_CONNECTIONS", "connections", "Database connections for searches.";
    statement_timeout_ms: u64 = "20000", "FHIR_STATEMENT_TIMEOUT_MS", "ms", "Longest a search, and each of its statements, may run; longer is a `too-costly`.";
    search_slow_ms: Option<u64> = "1000", "FHIR_SEARCH_SLOW_MS", "ms", "Searches that take as long are logged: names, modifiers, prefixes and times, never values; `off` for none.";
    search_explain: bool = "false", "FHIR_SEARCH_EXPLAIN", "", "Whether `_explain=true` tells how a search was answered: plan, SQL without values, estimates, times. It shows what others store in numbers; for development.";
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Pretty,
}

impl SettingValue for LogFormat {
    fn read(text: &str) -> Result<LogFormat, String> {
        match text {
            "json" => Ok(LogFormat::Json),
            "pretty" => Ok(LogFormat::Pretty),
            _ => Err("must be json or pretty".into()),
        }
    }
}

/// Addresses, comma separated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls(pub Vec<String>);

impl SettingValue for Urls {
    fn read(text: &str) -> Result<Urls, String> {
        let urls: Vec<String> = text.split(',').map(|url| url.trim().to_string()).collect();
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        match urls.iter().all(is_url) {
            true => Ok(Urls(urls)),
            false => Err("must be http:// or https:// URLs, comma separated".into()),
        }
    }
}

impl SettingValue for Freshness {
    fn read(text: &str) -> Result<Freshness, String> {
        Freshness::of(text).ok_or_else(|| "must be strong or eventual".into())
    }
}

impl SettingValue for AskedFor {
    fn read(text: &str) -> Result<AskedFor, String> {
        match text {
            "by-estimate" => Ok(AskedFor::ByEstimate),
            "always" => Ok(AskedFor::Always),
            _ => Err("must be by-estimate or always".into()),
        }
    }
}

impl SettingValue for WhenDown {
    fn read(text: &str) -> Result<WhenDown, String> {
        match text {
            "postgres" => Ok(WhenDown::Postgres),
            "refuse" => Ok(WhenDown::Refuse),
            _ => Err("must be postgres or refuse".into()),
        }
    }
}

impl SettingValue for Origins {
    fn read(text: &str) -> Result<Origins, String> {
        let is_origin = |text: &str| {
            let host = text.split_once("://").map_or("", |(_, host)| host);
            !host.is_empty() && !host.contains(['/', ' ', '*'])
        };
        match text.trim() {
            "*" => Ok(Origins::All),
            "none" => Ok(Origins::Some(Vec::new())),
            list => {
                let origins: Vec<String> = list.split(',').map(|o| o.trim().to_string()).collect();
                match origins.iter().all(|origin| is_origin(origin)) {
                    true => Ok(Origins::Some(origins)),
                    false => Err("must be *, none, or origins as https://app.example.org".into()),
                }
            }
        }
    }
}

impl SettingValue for Handling {
    fn read(text: &str) -> Result<Handling, String> {
        match text {
            "strict" => Ok(Handling::Strict),
            "lenient" => Ok(Handling::Lenient),
            _ => Err("must be strict or lenient".into()),
        }
    }
}

impl Config {
    /// What the embedded listener allows.
    pub fn mllp(&self) -> ConnectionSettings {
        ConnectionSettings {
            max_message_bytes: self.mllp_message_max_bytes,
            max_connections: self.mllp_connections_max,
            max_messages_in_work: self.mllp_in_work_max.max(1),
            idle_timeout_ms: self.mllp_idle_timeout_seconds.saturating_mul(1000),
            read_timeout_ms: self.mllp_read_timeout_seconds.saturating_mul(1000),
            write_timeout_ms: self.mllp_write_timeout_seconds.saturating_mul(1000),
            shutdown_grace_ms: self.shutdown_timeout_ms,
            ..ConnectionSettings::default()
        }
    }

    /// The listener at `FHIR_MLLP_ADDR`, if there is one, and those of the file.
    ///
    /// # Errors
    /// Half of what TLS needs, or a file that cannot be used.
    pub fn mllp_listeners(&self) -> Result<Vec<Listener>, String> {
        let tls = TlsFiles::of(
            self.mllp_tls_certificate_file.clone(),
            self.mllp_tls_key_file.clone(),
            self.mllp_tls_client_authorities_file.clone(),
        )?;
        Listener::all(self.mllp_addr, tls, self.mllp_listeners_file.as_deref())
    }

    /// Where v2 messages are kept that are acknowledged before they are applied.
    pub fn mllp_spool(&self) -> Option<SpoolSettings> {
        let folder = self.mllp_spool_dir.clone()?;
        let max_bytes = self.mllp_spool_max_bytes;
        Some(SpoolSettings { folder, max_bytes })
    }

    /// The search index beside Postgres, if there is one.
    pub fn elastic(&self) -> Option<ElasticSettings> {
        let Urls(urls) = self.elasticsearch_url.clone()?;
        Some(ElasticSettings {
            urls,
            user: self.elasticsearch_user.clone(),
            password: self.elasticsearch_password.clone(),
            api_key: self.elasticsearch_api_key.clone(),
            ca_file: self.elasticsearch_ca_file.clone(),
            index: self.elasticsearch_index.clone(),
            shards: self.elasticsearch_shards,
            search_timeout_ms: self.elasticsearch_search_timeout_ms,
            bulk_timeout_ms: self.elasticsearch_bulk_timeout_ms,
            freshness: self.elasticsearch_freshness,
            when_down: self.elasticsearch_when_down,
            asked: self.elasticsearch_asked,
            joins: Joins::default(),
            backlog_max: self.elasticsearch_backlog_max,
        })
    }

    /// The base that the stored index treats as its own: the configured one, else that of the listening address.
    pub fn own_base(&self) -> String {
        match &self.base_url {
            Some(base) => base.trim_end_matches('/').to_string(),
            None => format!("http://{}/fhir", self.http_addr),
        }
    }
}
