//! The listener alone: MLLP in, transactions over HTTP to a FHIR server.

use clap::{Parser, Subcommand};
use hl7_mllp_listener::bridge::Bridge;
use hl7_mllp_listener::client::{self, read_messages, read_unframed};
use hl7_mllp_listener::convert::Converter;
use hl7_mllp_listener::explain;
use hl7_mllp_listener::health::{self, Health};
use hl7_mllp_listener::identity::SiteSecret;
use hl7_mllp_listener::mapping::Mappings;
use hl7_mllp_listener::process::Processor;
use hl7_mllp_listener::replay::command;
use hl7_mllp_listener::server;
use hl7_mllp_listener::settings::Settings;
use hl7_mllp_listener::submit::{HttpSettings, Submit};
use hl7_mllp_listener::telemetry;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

/// HL7 v2 over MLLP to a FHIR server.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    /// TOML file with settings.
    #[arg(long, env = "FHIR_MLLP_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Listen (the default).
    Serve,
    Replay(command::Replay),
    /// Run the messages again whose codes have got a mapping since; `serve` does so when it starts.
    Requeue,
    /// Print how the messages of a file are read, every value under its address, and which rule writes which element.
    Explain {
        file: PathBuf,
    },
    /// Print what messages would become, without a FHIR server: a line of JSON for each file.
    Convert {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    Send(client::SendFiles),
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(CommandLine::parse()).await {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hl7-mllp-listener: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(line: CommandLine) -> Result<ExitCode, Failure> {
    let settings = || -> Result<Settings, Failure> {
        let file = line.config.as_deref().map(Settings::read).transpose()?;
        Ok(line.settings.or(file.unwrap_or_default()))
    };
    match line.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(settings()?).await,
        Command::Replay(command) => {
            let processor = processor(&settings()?)?;
            let accepted = command.run(&processor, &mut std::io::stdout()).await?;
            Ok(exit_code(accepted))
        }
        Command::Requeue => {
            let processor = processor(&settings()?)?;
            let accepted = command::requeue(&processor, &mut std::io::stdout()).await?;
            Ok(exit_code(accepted))
        }
        Command::Explain { file } => explain(&settings()?, &file),
        Command::Convert { files } => convert(mappings(&settings()?)?, &files).await,
        Command::Send(send) => Ok(exit_code(send.run(&mut std::io::stdout()).await?)),
    }
}

async fn serve(settings: Settings) -> Result<ExitCode, Failure> {
    server::raise_open_file_limit();
    let processor = processor(&settings)?;
    let connections = settings.connections();
    let mut entrances = Vec::new();
    for listener in settings.listeners()? {
        let address = listener.address;
        let socket = TcpListener::bind(address).await;
        let entrance = listener.on(socket.map_err(|error| format!("{address}: {error}"))?)?;
        let is_tls = entrance.tls.is_some();
        tracing::info!(address = %entrance.listener.local_addr()?, is_tls, "listening");
        entrances.push(entrance);
    }
    let (stop, spool) = (CancellationToken::new(), settings.spool());
    if let Some(address) = settings.mllp_http_addr {
        telemetry::start_metrics();
        let socket = TcpListener::bind(address).await;
        let socket = socket.map_err(|error| format!("{address}: {error}"))?;
        tracing::info!(http_address = %socket.local_addr()?, "listening for operators");
        let health = Health {
            processor: processor.clone(),
            has_spool: spool.is_some(),
        };
        tokio::spawn(health::serve(socket, health, stop.clone()));
    }
    let bridge = Bridge::start(
        processor,
        entrances,
        &connections,
        spool.as_ref(),
        stop.clone(),
    )?;
    tokio::spawn(cancel_on_signal(stop));
    bridge.ended().await;
    Ok(ExitCode::SUCCESS)
}

fn processor(settings: &Settings) -> Result<Processor, Failure> {
    let base = settings
        .server_url
        .as_deref()
        .ok_or("FHIR_SERVER_URL (--server-url) is not set")?;
    let mut http = HttpSettings::default();
    if let Some(seconds) = settings.server_timeout_seconds {
        http.request_timeout_ms = seconds.saturating_mul(1000);
    }
    let submit = Submit::http(base, http)?;
    Ok(Processor::new(
        submit,
        Arc::new(mappings(settings)?),
        site_secret(settings)?,
    ))
}

fn mappings(settings: &Settings) -> Result<Mappings, Failure> {
    let folder = settings
        .mappings_dir
        .clone()
        .or_else(|| hl7_mllp_listener::mapping::find_folder("mappings"))
        .ok_or("no folder `mappings` here, beside the program or above it; set FHIR_MAPPINGS_DIR")?
        .join("hl7v2");
    let files = hl7_mllp_listener::mapping::read_folder(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    Mappings::load(&files).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|e| format!("\n  {e}")).collect();
        format!("{}:{}", folder.display(), lines.concat()).into()
    })
}

/// The secret of the site from its file. Without a setting, `site-secret` in the working directory, made once.
fn site_secret(settings: &Settings) -> Result<SiteSecret, Failure> {
    let path = match &settings.site_secret_file {
        Some(path) => path.clone(),
        None => {
            let path = PathBuf::from("site-secret");
            let mut options = std::fs::OpenOptions::new();
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            if let Ok(mut file) = options.write(true).create_new(true).open(&path) {
                let secret = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
                file.write_all(format!("{}{}", secret[0].simple(), secret[1].simple()).as_bytes())?;
                tracing::warn!(
                    "made the file site-secret; every listener of this site needs the same one (FHIR_SITE_SECRET_FILE)"
                );
            }
            path
        }
    };
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    SiteSecret::new(text.trim().as_bytes()).ok_or_else(|| {
        format!(
            "{}: shorter than {} characters",
            path.display(),
            SiteSecret::MIN_BYTES
        )
        .into()
    })
}

fn exit_code(is_success: bool) -> ExitCode {
    match is_success {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// SIGTERM and SIGINT end the listener in order.
async fn cancel_on_signal(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("shutting down");
    shutdown.cancel();
}

fn explain(settings: &Settings, file: &Path) -> Result<ExitCode, Failure> {
    let mappings = mappings(settings)?;
    for message in read_messages(file)? {
        write!(
            std::io::stdout(),
            "{}",
            explain::explain(&message, &mappings)?
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn convert(mappings: Mappings, files: &[PathBuf]) -> Result<ExitCode, Failure> {
    let converter = Converter::new(Arc::new(mappings)).ok_or("no converter")?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for file in files {
        let raw = read_unframed(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut converted = converter.convert(&raw).await;
        converted["file"] = file.display().to_string().into();
        writeln!(out, "{converted}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
