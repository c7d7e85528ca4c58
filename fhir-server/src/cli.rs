//! The command line. Every setting is a flag of every command; `dhis2` and `hl7v2` have commands of their own.

use crate::app::{App, now_seconds};
use crate::config::{Config, LogFormat, SETTINGS};
use crate::data::Data;
use crate::dhis2::error::Dhis2Error;
use crate::failure::Failure;
use crate::serve::{self, Opened, Server, StartError};
use crate::setting::{self, SettingError};
use crate::{data, dhis2, embed, http, retention, search_index, telemetry, write};
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use fhir_storage::{Copied, PrivatePostgres, Upgraded};
use hl7_mllp_listener::client::{self, read_messages};
use hl7_mllp_listener::process::Processor;
use hl7_mllp_listener::replay::command::{self, CommandError};
use hl7_mllp_listener::server::raise_open_file_limit;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
#[command(
    name = "fhir-server",
    version,
    about = "FHIR R5 server with an HL7 v2 bridge"
)]
struct Cli {
    /// A TOML file of settings.
    #[arg(long, global = true, env = "FHIR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start HTTP, the HL7 v2 listener, and a private Postgres where DATABASE_URL is not set.
    Serve,
    /// Bring the database to this version and stop.
    Migrate,
    /// Index every resource again.
    Reindex,
    /// Write the whole store into a new file, beside a running server or without one. The file holds patients and the site secret.
    Backup { file: PathBuf },
    /// Fill an empty store from a file of `backup`.
    Restore { file: PathBuf },
    /// Move the private Postgres to the newest PostgreSQL that is installed.
    Upgrade,
    /// Check the data folders and print every problem.
    Check,
    /// HL7 v2 messages that came in.
    #[command(subcommand)]
    Hl7v2(Hl7v2),
    /// The search index in Elasticsearch.
    #[command(subcommand)]
    Index(Index),
    /// Figures for DHIS2 from the resources that are here.
    #[command(subcommand)]
    Dhis2(dhis2::run::Command),
    /// Print the table of settings (docs/settings.md).
    Settings,
}

#[derive(Debug, Subcommand)]
enum Hl7v2 {
    Replay(command::Replay),
    /// Run the messages again whose codes have got a mapping since; `serve` does so when it starts.
    Requeue,
    /// Print how the message of a file is read and which rule writes which element. It prints patient data.
    Explain {
        file: PathBuf,
    },
    /// Take out of the journal what is older than its settings say, as the server does once an hour.
    Prune,
    Send(client::SendFiles),
}

#[derive(Debug, Subcommand)]
enum Index {
    /// Compare it with the database, resource by resource, beside running servers or without one.
    Verify {
        /// Write again what differs.
        #[arg(long)]
        repair: bool,
    },
    /// Make another one beside it, which takes its place when it is complete; of one TYPE, write its resources again.
    Rebuild {
        #[arg(value_name = "TYPE")]
        of_type: Option<String>,
    },
}

/// What goes wrong outside a running server; the text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("{}", .0.iter().map(SettingError::to_string).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<SettingError>),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] fhir_storage::Error),
    #[error(transparent)]
    Dhis2(#[from] Dhis2Error),
    #[error(transparent)]
    Replay(#[from] CommandError),
    #[error("the journal was not pruned: {0}")]
    Prune(String),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Runs the command of the process's arguments.
pub fn run() -> ExitCode {
    match try_run() {
        Ok(code) => code,
        Err(failed) => {
            let _ = writeln!(std::io::stderr(), "fhir-server: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn try_run() -> Result<ExitCode, Failed> {
    let matches = with_settings(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Command::Settings = cli.command {
        return say(&setting::markdown(SETTINGS));
    }
    let config = read_config(&matches, cli.config.as_deref()).map_err(Failed::Settings)?;
    telemetry::start_logs(&config);
    raise_open_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Serve => until_signalled(config).await,
            Command::Migrate => beside(config, async |_, _| Ok(ExitCode::SUCCESS)).await,
            Command::Reindex => {
                beside(config, async |app, _| {
                    let count = app.store.reindex().await?;
                    say(&format!("{count} resources indexed\n"))
                })
                .await
            }
            Command::Backup { file } => backup(&config, &file).await,
            Command::Restore { file } => restore(&config, &file).await,
            Command::Upgrade => upgrade(&config).await,
            Command::Dhis2(command) => {
                beside(config, async |app, data| report(app, data, &command).await).await
            }
            Command::Index(Index::Verify { repair }) => {
                beside(config, async |app, _| {
                    let (text, is_right) = search_index::verify(app, repair).await?;
                    say(&text)?;
                    Ok(exit_code(is_right))
                })
                .await
            }
            Command::Index(Index::Rebuild { of_type }) => {
                beside(config, async |app, _| {
                    say(&search_index::rebuild(app, of_type.as_deref()).await?)
                })
                .await
            }
            Command::Hl7v2(Hl7v2::Replay(replay)) => {
                beside(config, async |app, data| {
                    let processor = processor(app, data)?;
                    let accepted = replay.run(&processor, &mut std::io::stdout()).await?;
                    Ok(exit_code(accepted))
                })
                .await
            }
            Command::Hl7v2(Hl7v2::Requeue) => {
                beside(config, async |app, data| {
                    let processor = processor(app, data)?;
                    let accepted = command::requeue(&processor, &mut std::io::stdout()).await?;
                    Ok(exit_code(accepted))
                })
                .await
            }
            Command::Hl7v2(Hl7v2::Explain { file }) => {
                let data = data::load(&config).map_err(StartError::Data)?;
                explain(&data, &file)
            }
            Command::Hl7v2(Hl7v2::Prune) => {
                beside(config, async |app, _| {
                    let why =
                        |failure: Failure| Failed::Prune(retention::reason(&failure).to_owned());
                    let pruned = retention::prune(app, now_seconds()).await.map_err(why)?;
                    say(&format!(
                        "{} messages lost their bytes, {} entries are gone\n",
                        pruned.raw, pruned.entries
                    ))
                })
                .await
            }
            Command::Hl7v2(Hl7v2::Send(send)) => {
                Ok(exit_code(send.run(&mut std::io::stdout()).await?))
            }
            Command::Check => {
                let data = data::load(&config).map_err(StartError::Data)?;
                say(&format!("{} files are valid\n", data.files))
            }
            Command::Settings => Ok(ExitCode::SUCCESS),
        }
    })
}

async fn backup(config: &Config, file: &Path) -> Result<ExitCode, Failed> {
    let (url, database) = serve::database_beside(config).await?;
    let copied = fhir_storage::backup(&url, file).await;
    if let Some(database) = database {
        database.stop().await;
    }
    let Copied { rows, bytes } = copied?;
    let file = file.display();
    say(&format!("{file}: {rows} rows, {bytes} bytes\n"))
}

async fn restore(config: &Config, file: &Path) -> Result<ExitCode, Failed> {
    let (url, database) = serve::database(config).await?;
    let copied = fhir_storage::restore(&url, file).await;
    if let Some(database) = database {
        database.stop().await;
    }
    say(&format!("{} rows restored\n", copied?.rows))
}

async fn upgrade(config: &Config) -> Result<ExitCode, Failed> {
    if config.database_url.is_some() {
        return Err(fhir_storage::Error::Backup(
            "DATABASE_URL is set: `upgrade` is for the private Postgres; a database of your own is upgraded with its own tools".into(),
        )
        .into());
    }
    let data_dir = &config.data_dir;
    match PrivatePostgres::upgrade(data_dir).await? {
        None => say("the data are of the newest PostgreSQL that is installed: nothing to do\n"),
        Some(Upgraded {
            from,
            to,
            kept,
            kept_bytes,
        }) => say(&format!(
            "the data are now of PostgreSQL {to}. Those of PostgreSQL {from} are kept in {} ({} MB); delete them once the server has run well\n",
            kept.display(),
            kept_bytes >> 20
        )),
    }
}

fn explain(data: &Data, file: &Path) -> Result<ExitCode, Failed> {
    for message in read_messages(file)? {
        match hl7_mllp_listener::explain::explain(&message, &data.hl7v2) {
            Ok(text) => say(&text)?,
            Err(error) => return Err(std::io::Error::other(error).into()),
        };
    }
    Ok(ExitCode::SUCCESS)
}

fn processor(app: &Arc<App>, data: &Data) -> Result<Processor, Failed> {
    let router = http::service(app.clone());
    Ok(embed::processor(app, router, data.hl7v2.clone())?)
}

fn exit_code(is_success: bool) -> ExitCode {
    match is_success {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn report(app: &App, data: &Data, command: &dhis2::run::Command) -> Result<ExitCode, Failed> {
    let record = async |changes| match write::commit(app, changes).await {
        Ok(_) => Ok(()),
        Err(refused) => Err(Dhis2Error::Refused(refused.failure.issues)),
    };
    let base = app.config.own_base();
    let variable = |name: &str| std::env::var(name).ok();
    let (store, content) = (&app.store, &data.dhis2);
    let printed = dhis2::run::run(command, store, content, Some(&base), variable, record).await?;
    std::io::stderr().write_all(printed.stderr.as_bytes())?;
    say(&printed.stdout)?;
    Ok(match printed.success {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn until_signalled(config: Config) -> Result<ExitCode, Failed> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let pretty = config.log_format == LogFormat::Pretty;
    let server = tokio::select! {
        started = Server::start(config) => started?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    if pretty {
        say(&format!("http://{}/fhir\n", server.http_addr))?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Does something with the database, whether or not a server runs on it, and stops again.
async fn beside(
    config: Config,
    work: impl AsyncFnOnce(&Arc<App>, &Data) -> Result<ExitCode, Failed>,
) -> Result<ExitCode, Failed> {
    let data = data::load(&config).map_err(StartError::Data)?;
    let Opened { store, database } = serve::open_beside(&config, &data).await?;
    let secret = *store.site_secret();
    let app = Arc::new(App::new(store, config, &secret));
    let result = work(&app, &data).await;
    app.store.close().await;
    if let Some(database) = database {
        database.stop().await;
    }
    result
}

/// Adds a flag for each setting, to every command.
fn with_settings(mut command: clap::Command) -> clap::Command {
    for setting in SETTINGS {
        command = command.arg(
            Arg::new(setting.key)
                .long(setting.key.replace('_', "-"))
                .value_name(if setting.unit.is_empty() {
                    "VALUE"
                } else {
                    setting.unit
                })
                .help(format!("{} [{}]", setting.meaning, setting.variable))
                .help_heading("Settings")
                .global(true),
        );
    }
    command
}

fn read_config(matches: &ArgMatches, file: Option<&Path>) -> Result<Config, Vec<SettingError>> {
    let text = match file {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            vec![SettingError {
                name: path.display().to_string(),
                reason: error.to_string(),
            }]
        })?),
    };
    let texts = setting::gather(
        SETTINGS,
        |key| matches.get_one::<String>(key).cloned(),
        |variable| std::env::var(variable).ok(),
        file.zip(text.as_deref()),
    )?;
    Config::read(&texts)
}

fn say(text: &str) -> Result<ExitCode, Failed> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
