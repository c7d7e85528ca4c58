//! The accept loop: one task per connection, a bound on their number, back-off when the system runs out of files, and an
//! orderly end in which messages in work are still answered.

use crate::process::{Processor, Reply};
use crate::seldom::Seldom;
use crate::session::{self, End, Turns};
use crate::settings::ConnectionSettings;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after a failed accept, doubled up to the second one, in milliseconds.
const BACK_OFF_MS: std::ops::Range<u64> = 10..1_000;
/// What the system takes of a connection that is not read, in bytes: a sender that waits for nothing is held back by it.
const UNREAD_BYTES: usize = 128 * 1024;
/// A silent peer is asked after this time whether it still is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Serves connections until `shutdown` is cancelled and the messages in work are answered, or the grace period is over.
pub async fn serve(
    listener: TcpListener,
    processor: Arc<Processor>,
    settings: ConnectionSettings,
    shutdown: CancellationToken,
) {
    let process = move |message: Bytes| {
        let processor = processor.clone();
        async move { processor.process(message).await }
    };
    serve_with(listener, process, settings, shutdown).await;
}

/// As [`serve`], for any way of processing.
pub(crate) async fn serve_with<P, F>(
    listener: TcpListener,
    process: P,
    settings: ConnectionSettings,
    shutdown: CancellationToken,
) where
    P: Fn(Bytes) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send,
{
    let settings = Arc::new(settings);
    let turns = Arc::new(Turns::new(&settings));
    let refused = Seldom::new();
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let mut back_off_ms = BACK_OFF_MS.start;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Usually too many open files: connections that end make room.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(back_off_ms)).await;
                back_off_ms = (back_off_ms * 2).min(BACK_OFF_MS.end);
                continue;
            }
        };
        back_off_ms = BACK_OFF_MS.start;
        if connections.len() >= settings.max_connections {
            metrics::counter!("mllp_connections_refused_total").increment(1);
            if let Some(times) = refused.happened() {
                let max_connections = settings.max_connections;
                tracing::warn!(max_connections, times, "connections were refused");
            }
            continue;
        }
        keep_alive(&stream);
        let (process, settings, turns) = (process.clone(), settings.clone(), turns.clone());
        let (shutdown, abort) = (shutdown.clone(), abort.clone());
        connections.spawn(async move {
            let open = OpenConnection::new();
            let end = tokio::select! {
                end = session::run(stream, process, &settings, &turns, &shutdown) => end,
                () = abort.cancelled() => End::Shutdown,
            };
            drop(open);
            report(end);
        });
    }
    drop(listener);
    connections.close();
    let grace = Duration::from_millis(settings.shutdown_grace_ms);
    if timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "messages in work were abandoned: their senders get no answer"
        );
        abort.cancel();
        connections.wait().await;
    }
}

/// As many open files as the system lets this process have: the usual soft limit of 1,024 is below the usual number of
/// connections. What cannot be had is left.
pub fn raise_open_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a live, initialised rlimit and keep none.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Acknowledgements are small and awaited; a peer that lost power sends nothing and must be found out.
fn keep_alive(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE / 4);
    if let Err(error) = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_keepalive(&keep_alive))
        .and_then(|()| socket.set_recv_buffer_size(UNREAD_BYTES))
    {
        tracing::debug!(%error, "socket options were not taken");
    }
}

/// Counts itself among the open connections while it lives.
struct OpenConnection;

impl OpenConnection {
    fn new() -> OpenConnection {
        metrics::gauge!("mllp_connections").increment(1);
        OpenConnection
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics::gauge!("mllp_connections").decrement(1);
    }
}

fn report(end: End) {
    match end {
        End::Closed | End::Shutdown => tracing::debug!(?end, "connection ended"),
        End::Idle | End::Stalled | End::NotMllp | End::Unread | End::Broken(_) => {
            tracing::warn!(?end, "connection ended");
        }
    }
}

#[cfg(test)]
mod tests;
