//! What is done to a site.

use crate::network::Network;
use crate::node::Node;
use crate::process::{children, signal};
use crate::site::{Clock, Site};
use load_driver::generate::Random;
use std::fmt;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of one server.
    Server(usize),
    /// kill -9 of the postmaster; its children end by themselves, without writing anything.
    Postmaster,
    /// kill -9 of a process that serves a connection; Postgres then throws all of them out and recovers.
    Backend,
    /// kill -9 of the listener that runs alone.
    Listener,
    /// kill -9 of everything at once.
    Everything,
    /// A clock jumps by so many seconds.
    Clock(Clock, i64),
    /// Postgres' log writer, checkpointer and half of its connections stand still for seconds, as they do while the disk does.
    SlowDisk,
    /// The disk has no room for a while.
    FullDisk,
    /// kill -9 of one node of the search index.
    Node(usize),
    /// kill -9 of all nodes of the search index at once.
    Nodes,
    /// The nodes of the search index do not reach each other; the servers reach all of them.
    Split,
    /// Nobody reaches the search index.
    Cut,
    /// Each request to the search index takes five seconds longer.
    Slow,
    /// The nodes of the search index find their disks full and make it read-only.
    Flood,
    /// The servers are killed (-9) while another search index is being filled.
    Rebuild,
}

/// Longer than a batch waits for a node that has lost the others, so that what it was asked to write is written by another one.
const SPLIT: Duration = Duration::from_secs(12);
/// What a request to a slow search index takes longer.
const SLOW: Duration = Duration::from_secs(5);
/// What each piece of a request takes longer while an index is filled: else it would be done before anybody saw it.
const HELD_UP: Duration = Duration::from_millis(20);

impl Fault {
    /// What happens to a site with a search index of two nodes of its own, in a round each.
    pub const OF_INDEX: [Fault; 11] = [
        Fault::Split,
        Fault::Node(1),
        Fault::Server(0),
        Fault::Cut,
        Fault::Postmaster,
        Fault::Slow,
        Fault::Rebuild,
        Fault::Flood,
        Fault::Nodes,
        Fault::Everything,
        Fault::Node(0),
    ];

    pub fn is_kill(self) -> bool {
        !matches!(
            self,
            Fault::Clock(..)
                | Fault::SlowDisk
                | Fault::FullDisk
                | Fault::Split
                | Fault::Cut
                | Fault::Slow
                | Fault::Flood
        )
    }

    /// Whether only the search index is hurt: nobody who writes or searches may be told of it.
    pub fn is_of_index(self) -> bool {
        matches!(
            self,
            Fault::Node(_) | Fault::Nodes | Fault::Split | Fault::Cut | Fault::Slow | Fault::Flood
        )
    }

    /// Whether this server is meant to end.
    pub fn kills_server(self, number: usize) -> bool {
        matches!(self, Fault::Everything | Fault::Rebuild) || self == Fault::Server(number)
    }

    pub fn kills_listener(self) -> bool {
        matches!(self, Fault::Everything | Fault::Listener)
    }

    pub async fn strike(self, site: &mut Site, random: &mut Random) -> Result<(), String> {
        match self {
            Fault::Server(number) => site.servers[number].kill(),
            Fault::Listener => site.listener.kill(),
            Fault::Postmaster => signal(running(site)?, libc::SIGKILL),
            Fault::Backend => {
                let backends = backends(running(site)?);
                let at = random.below(backends.len().max(1) as u64) as usize;
                let pid = backends.get(at).ok_or("Postgres has no connection")?;
                signal(*pid, libc::SIGKILL);
            }
            Fault::Everything => {
                let postmaster = running(site)?;
                let own = children(postmaster);
                signal(postmaster, libc::SIGKILL);
                for (child, _) in own {
                    signal(child, libc::SIGKILL);
                }
                site.servers.iter_mut().for_each(|server| server.kill());
                site.listener.kill();
            }
            Fault::Clock(clock, seconds) => site.set_clock(clock, seconds)?,
            Fault::SlowDisk => {
                for _ in 0..3 {
                    stand_still(site, random).await?;
                }
            }
            Fault::FullDisk => {
                let disk = site
                    .disk
                    .as_ref()
                    .ok_or("this site has no disk of its own")?;
                disk.fill()?;
                tokio::time::sleep(Duration::from_secs(8)).await;
                disk.make_room()?;
            }
            Fault::Node(number) => {
                let nodes = site.cluster()?.nodes();
                nodes[number % nodes.len()].kill();
                // The others take over, or do not; then it comes back.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            Fault::Nodes => {
                let noticed = site.fallbacks().await;
                site.cluster()?.nodes().iter_mut().for_each(Node::kill);
                noticed.wait(site).await?;
            }
            Fault::Split => {
                site.cluster()?.split(true).await?;
                tokio::time::sleep(SPLIT).await;
                site.cluster()?.split(false).await?;
            }
            Fault::Cut => {
                let noticed = site.fallbacks().await;
                site.cluster()?.set_network(Network::Cut);
                noticed.wait(site).await?;
                tokio::time::sleep(Duration::from_millis(1000 + random.below(2000))).await;
                site.cluster()?.set_network(Network::Open);
            }
            Fault::Slow => {
                let noticed = site.fallbacks().await;
                site.cluster()?.set_network(Network::Slow(SLOW));
                noticed.wait(site).await?;
                // So that what was begun slowly is also answered slowly.
                tokio::time::sleep(2 * SLOW).await;
                site.cluster()?.set_network(Network::Open);
            }
            Fault::Flood => {
                let noticed = site.failed_batches().await;
                site.cluster()?.set_full(true).await?;
                noticed.wait(site).await?;
                tokio::time::sleep(Duration::from_millis(1000 + random.below(2000))).await;
                site.cluster()?.set_full(false).await?;
            }
            Fault::Rebuild => {
                site.cluster()?.set_network(Network::Slow(HELD_UP));
                let mut rebuild = site.rebuild()?;
                let filling = site.until_filling().await;
                site.servers.iter_mut().for_each(|server| server.kill());
                rebuild.kill();
                site.cluster()?.set_network(Network::Open);
                filling?;
            }
        }
        // Whoever starts things again needs a moment, and not always the same.
        tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Server(number) => write!(f, "kill -9 server {}", number + 1),
            Fault::Postmaster => write!(f, "kill -9 postmaster"),
            Fault::Backend => write!(f, "kill -9 backend"),
            Fault::Listener => write!(f, "kill -9 listener"),
            Fault::Everything => write!(f, "kill -9 everything"),
            Fault::Clock(Clock::Database, seconds) => write!(f, "database clock {seconds:+} s"),
            Fault::Clock(Clock::Servers, seconds) => write!(f, "server clock {seconds:+} s"),
            Fault::SlowDisk => write!(f, "slow disk"),
            Fault::FullDisk => write!(f, "full disk"),
            Fault::Node(number) => write!(f, "kill -9 index node {}", number + 1),
            Fault::Split => write!(f, "index nodes split"),
            Fault::Nodes => write!(f, "kill -9 all index nodes"),
            Fault::Cut => write!(f, "index cut off"),
            Fault::Slow => write!(f, "slow index"),
            Fault::Flood => write!(f, "index disks full"),
            Fault::Rebuild => write!(f, "kill -9 in a rebuild"),
        }
    }
}

fn running(site: &Site) -> Result<u32, String> {
    site.postmaster()
        .ok_or_else(|| "Postgres does not run".into())
}

/// The processes that serve connections.
fn backends(postmaster: u32) -> Vec<u32> {
    let serving = children(postmaster)
        .into_iter()
        .filter(|(_, command)| command.contains("fhir"));
    serving.map(|(pid, _)| pid).collect()
}

/// For as long as this Postgres runs.
pub fn stop_log_writer(site: &Site) -> Result<(), String> {
    let writers = children(running(site)?)
        .into_iter()
        .filter(|(_, command)| command.contains("walwriter"));
    writers.for_each(|(pid, _)| signal(pid, libc::SIGSTOP));
    Ok(())
}

async fn stand_still(site: &Site, random: &mut Random) -> Result<(), String> {
    let own = children(running(site)?).into_iter();
    let still: Vec<u32> = own
        .filter(|(_, command)| {
            command.contains("checkpointer")
                || command.contains("walwriter")
                || random.below(2) == 0
        })
        .map(|(pid, _)| pid)
        .collect();
    still.iter().for_each(|pid| signal(*pid, libc::SIGSTOP));
    tokio::time::sleep(Duration::from_millis(500 + random.below(1500))).await;
    still.iter().for_each(|pid| signal(*pid, libc::SIGCONT));
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}
