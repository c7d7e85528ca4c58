//! A network between the server and Elasticsearch that can be cut, slow, or late: a request that nobody waits for any more arrives all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Open,
    /// Whatever is connected is cut off, and nobody gets through.
    Cut,
    /// Each piece of a request waits so long.
    Slow(Duration),
    /// Requests wait until it is something else, also those whose sender has gone.
    Held,
}

pub struct Proxy {
    pub url: String,
    network: watch::Sender<Network>,
    /// Connections on which something is on its way.
    pub carried: Arc<AtomicUsize>,
    /// Pieces of requests that were handed on.
    pub handed_on: Arc<AtomicU64>,
}

impl Proxy {
    /// In front of `http://host:port`, or another scheme.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: &str) -> std::io::Result<Proxy> {
        let (scheme, target) = target.split_once("://").unwrap_or(("http", target));
        let target = target.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let (network, seen) = watch::channel(Network::Open);
        let (carried, handed_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let counters = (carried.clone(), handed_on.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, seen) = (target.clone(), seen.clone());
                let (carried, handed_on) = counters.clone();
                tokio::spawn(async move {
                    carried.fetch_add(1, Ordering::SeqCst);
                    carry(client, &target, seen, &handed_on).await;
                    carried.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Proxy {
            url,
            network,
            carried,
            handed_on,
        })
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn carry(
    client: TcpStream,
    target: &str,
    mut seen: watch::Receiver<Network>,
    handed_on: &AtomicU64,
) {
    if *seen.borrow() == Network::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut network = seen.clone();
    let there = async {
        let mut piece = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            let now = *network.borrow_and_update();
            match now {
                Network::Slow(wait) => tokio::time::sleep(wait).await,
                Network::Held => {
                    let _ = network.wait_for(|now| *now != Network::Held).await;
                }
                Network::Open | Network::Cut => {}
            }
            if to_server.write_all(&piece[..length]).await.is_err() {
                break;
            }
            handed_on.fetch_add(1, Ordering::SeqCst);
        }
        // What was handed on late is answered, too.
        let _ = to_server.shutdown().await;
    };
    let back = async {
        let mut piece = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_server.read(&mut piece).await {
            if to_client.write_all(&piece[..length]).await.is_err() {
                // The sender has gone; the answer is read to its end.
                while let Ok(1..) = from_server.read(&mut piece).await {}
            }
        }
    };
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        _ = seen.wait_for(|now| *now == Network::Cut) => {}
    }
}
