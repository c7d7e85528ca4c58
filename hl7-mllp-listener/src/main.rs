//! The listener alone: MLLP in, transactions over HTTP to a FHIR server.

use bytes::Bytes;
use clap::{Parser, Subcommand};
use hl7_mllp_listener::client::Client;
use hl7_mllp_listener::explain::Explanation;
use hl7_mllp_listener::message::{Message, TextOptions};
use hl7_mllp_listener::process::Processor;
use hl7_mllp_listener::server;
use hl7_mllp_listener::settings::Settings;
use hl7_mllp_listener::submit::{HttpSettings, Submit};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
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
    /// Print how a message is read: every value under its address.
    Explain { file: PathBuf },
    /// Send messages to an MLLP listener, one file each, and print what it answers.
    Send {
        /// HOST:PORT
        address: String,
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Longest wait for an answer.
        #[arg(long, default_value_t = 30)]
        timeout_seconds: u64,
    },
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
    match line.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let file = line.config.as_deref().map(Settings::read).transpose()?;
            serve(line.settings.or(file.unwrap_or_default())).await
        }
        Command::Explain { file } => explain(&file),
        Command::Send {
            address,
            files,
            timeout_seconds,
        } => send(&address, &files, Duration::from_secs(timeout_seconds)).await,
    }
}

async fn serve(settings: Settings) -> Result<ExitCode, Failure> {
    server::raise_open_file_limit();
    let base = settings
        .server_url
        .as_deref()
        .ok_or("FHIR_SERVER_URL (--server-url) is not set")?;
    let mut http = HttpSettings::default();
    if let Some(seconds) = settings.server_timeout_seconds {
        http.request_timeout_ms = seconds.saturating_mul(1000);
    }
    let processor = Arc::new(Processor::new(Submit::http(base, http)?));
    let listener = TcpListener::bind(settings.address()).await?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone()));
    server::serve(listener, processor, settings.connections(), shutdown).await;
    Ok(ExitCode::SUCCESS)
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

fn explain(file: &Path) -> Result<ExitCode, Failure> {
    let message = Message::parse(&read_unframed(file)?, &TextOptions::default())?;
    write!(std::io::stdout(), "{}", Explanation(&message))?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if any message was not accepted.
async fn send(address: &str, files: &[PathBuf], timeout: Duration) -> Result<ExitCode, Failure> {
    let mut client = Client::connect(address, timeout).await?;
    let mut refused = 0;
    for file in files {
        let answer = match client.exchange(read_unframed(file)?).await {
            Ok(answer) => answer,
            Err(error) => return Err(format!("{}: {error}", file.display()).into()),
        };
        refused += usize::from(!matches!(answer.code.as_str(), "AA" | "CA"));
        let errors = answer.errors.join(" ");
        writeln!(
            std::io::stdout(),
            "{}\t{}\t{}\t{errors}",
            file.display(),
            answer.code,
            answer.control_id
        )?;
    }
    Ok(if refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Files are often saved with their MLLP frame.
fn read_unframed(file: &Path) -> Result<Bytes, Failure> {
    let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, 0x0B))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .position(|byte| *byte == 0x1C)
        .unwrap_or(bytes.len());
    Ok(Bytes::from(bytes).slice(start.min(end)..end))
}
