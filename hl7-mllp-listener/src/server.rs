//! The accept loop: one task per connection, a bound on their number, back-off when the system runs out of files, and an
//! orderly end in which messages in work are still answered.

use crate::intake::{Apply, Intake};
use crate::listeners::Admission;
use crate::replies::Replies;
use crate::seldom::Seldom;
use crate::session::{self, End};
use crate::settings::ConnectionSettings;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, rustls};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause after a failed accept, doubled up to the second one, in milliseconds.
const BACK_OFF_MS: std::ops::Range<u64> = 10..1_000;
/// What the system takes of a connection that is not read, in bytes: a sender that waits for nothing is held back by it.
const UNREAD_BYTES: usize = 128 * 1024;
/// A silent peer is asked after this time whether it still is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Where connections come in, and who may send on them.
pub struct Entrance {
    pub listener: TcpListener,
    /// Without it connections are in clear.
    pub tls: Option<TlsAcceptor>,
    pub admission: Admission,
    /// Where the application's acknowledgements of enhanced mode go, `host:port`; without it they follow on the connection.
    pub reply_to: Option<String>,
}

impl Entrance {
    /// One in clear that takes everything.
    pub fn open(listener: TcpListener) -> Entrance {
        Entrance {
            listener,
            tls: None,
            admission: Admission::default(),
            reply_to: None,
        }
    }
}

/// Serves connections until `shutdown` is cancelled and the messages in work are answered, or the grace period is over.
pub async fn serve<A: Apply>(
    entrance: Entrance,
    intake: Arc<Intake<A>>,
    settings: ConnectionSettings,
    shutdown: CancellationToken,
) {
    let Entrance {
        listener,
        tls,
        admission,
        reply_to,
    } = entrance;
    let (replies, sending) = reply_to
        .map(|address| Replies::to(address, shutdown.clone()))
        .unzip();
    let sending = sending.map(tokio::spawn);
    let shared = Arc::new(Shared {
        large_messages: Semaphore::new(settings.max_large_messages),
        settings,
        intake,
        tls,
        admission,
        replies,
        shutdown: shutdown.clone(),
    });
    let settings = shared.settings.clone();
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
        let (shared, abort) = (shared.clone(), abort.clone());
        connections.spawn(async move {
            let open = OpenConnection::new();
            let end = tokio::select! {
                end = shared.connection(stream) => end,
                () = abort.cancelled() => End::Shutdown,
            };
            drop(open);
            report(end);
        });
    }
    drop(listener);
    connections.close();
    let end = Instant::now() + Duration::from_millis(settings.shutdown_grace_ms);
    if timeout_at(end, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "messages in work were abandoned: their senders get no answer"
        );
        abort.cancel();
        connections.wait().await;
    }
    drop(shared);
    if let Some(sending) = sending {
        let _ = timeout_at(end, sending).await;
    }
}

/// What all connections of a listener share.
struct Shared<A> {
    settings: ConnectionSettings,
    intake: Arc<Intake<A>>,
    tls: Option<TlsAcceptor>,
    admission: Admission,
    replies: Option<Replies>,
    large_messages: Semaphore,
    shutdown: CancellationToken,
}

impl<A: Apply> Shared<A> {
    async fn connection(&self, stream: TcpStream) -> End {
        let Some(tls) = &self.tls else {
            return match self.admission.of_client(None) {
                Some(admission) => self.session(stream, &admission).await,
                None => End::NotAdmitted,
            };
        };
        let limit = Duration::from_millis(self.settings.read_timeout_ms);
        let stream = match timeout(limit, tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => return End::NoTls,
        };
        let certificates = stream.get_ref().1.peer_certificates();
        let certificate: Option<&CertificateDer<'_>> = certificates.and_then(<[_]>::first);
        match self.admission.of_client(certificate) {
            Some(admission) => self.session(stream, &admission).await,
            None => End::NotAdmitted,
        }
    }

    async fn session<S>(&self, stream: S, admission: &Admission) -> End
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let (intake, settings) = (&self.intake, &self.settings);
        let large_messages = &self.large_messages;
        session::run(
            stream,
            intake,
            admission,
            settings,
            large_messages,
            self.replies.as_ref(),
            &self.shutdown,
        )
        .await
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
        End::NoTls | End::NotAdmitted => {
            metrics::counter!("mllp_connections_not_admitted_total").increment(1);
            static NOT_ADMITTED: Seldom = Seldom::new();
            if let Some(times) = NOT_ADMITTED.happened() {
                tracing::warn!(?end, times, "connections were not admitted");
            }
        }
        End::Idle | End::Stalled | End::NotMllp | End::Unread | End::Broken(_) => {
            tracing::warn!(?end, "connection ended");
        }
    }
}

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
