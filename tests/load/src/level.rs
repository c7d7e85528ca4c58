//! What a server says of itself as Prometheus text: figures to wait for after loading, and counters whose increase is printed.

use load_driver::client::Failure;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Figures are as old as the server's last look at them: what is waited for must have been so for this long.
pub const STEADY: Duration = Duration::from_millis(2_500);
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for figures that do not come.
const PATIENCE: Duration = Duration::from_secs(2 * 3_600);

#[derive(clap::Args, Clone, Debug)]
pub struct Metrics {
    /// Where the server tells its metrics, of the one `--beside` where there are two.
    #[arg(long)]
    metrics: Option<String>,
    /// Beginnings of counters whose increase is printed.
    #[arg(long, value_delimiter = ',', requires = "metrics")]
    counters: Vec<String>,
    /// Gauges to wait for after loading: `name=value`.
    #[arg(long, value_delimiter = ',', requires = "metrics", value_parser = gauge)]
    level: Vec<(String, f64)>,
}

fn gauge(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("name=value is expected")?;
    let value = value.parse().map_err(|_| "the value is no number")?;
    Ok((name.to_owned(), value))
}

/// Each series with its labels.
pub type Series = BTreeMap<String, f64>;

impl Metrics {
    /// What the metrics are now; empty where nobody asked for any.
    pub async fn read(&self) -> Result<Series, Failure> {
        let Some(url) = &self.metrics else {
            return Ok(Series::new());
        };
        let failed = |error: reqwest::Error| format!("{url}: {error}");
        let client = reqwest::Client::builder().no_gzip().build();
        let answer = client.map_err(failed)?.get(url).send().await;
        let text = answer.map_err(failed)?.text().await.map_err(failed)?;
        Ok(parse(&text))
    }

    /// Waits until the gauges have the values; gives how long it took, `None` where there is nothing to wait for.
    pub async fn wait(&self) -> Result<Option<Duration>, Failure> {
        if self.level.is_empty() {
            return Ok(None);
        }
        let began = Instant::now();
        let mut since = None;
        loop {
            let series = self.read().await?;
            let is_level = |(name, value): &(String, f64)| series.get(name) == Some(value);
            match self.level.iter().all(is_level) {
                true => {
                    let first = *since.get_or_insert_with(Instant::now);
                    if first.elapsed() >= STEADY {
                        return Ok(Some(first - began));
                    }
                }
                false => since = None,
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("not level in time: {:?}", self.level));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Prints by how much the counters are greater than `before`.
    pub async fn print_increases(&self, before: &Series) -> Result<(), Failure> {
        if self.counters.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(STEADY).await;
        for (series, value) in self.read().await? {
            let more = value - before.get(&series).unwrap_or(&0.0);
            if more > 0.0 && self.counters.iter().any(|name| series.starts_with(name)) {
                println!("  {series} + {more}");
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Series {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_series_with_their_labels() {
        let text = "# TYPE waiting gauge\nwaiting 3\n\nanswered_total{reason=\"by id\"} 12.5\n";
        let expect = [("answered_total{reason=\"by id\"}", 12.5), ("waiting", 3.0)];
        let expect = expect.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(parse(text), Series::from(expect));
    }

    #[test]
    fn a_gauge_has_a_name_and_a_number() {
        assert_eq!(gauge("waiting=0"), Ok(("waiting".to_owned(), 0.0)));
        assert!(gauge("waiting").is_err() && gauge("waiting=much").is_err());
    }
}
