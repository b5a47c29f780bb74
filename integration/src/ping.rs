//! A ping that runs while something is done to the network, and what it has seen at the end. It
//! owns the process and the form of its output.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::netns::Netns;
use crate::process::Process;
use crate::wait::{QUICK, eventually};

/// A ping in progress.
#[derive(Debug)]
pub struct Ping {
    process: Process,
}

impl Ping {
    /// Starts to ping `target` from within a host or pod, once per `interval`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(from: &Netns, target: impl ToString, interval: Duration) -> Result<Self> {
        Self::start_with(target, interval, |argv, log| from.start(argv, &[], log))
    }

    /// The same from elsewhere: `start` is given the command line and a name for the log.
    pub(crate) fn start_with(
        target: impl ToString,
        interval: Duration,
        start: impl FnOnce(&[&str], &str) -> Result<Process>,
    ) -> Result<Self> {
        let target = target.to_string();
        let interval = format!("{}", interval.as_secs_f64());
        // -D stamps each answer with the time of day.
        let process = start(
            &["ping", "-n", "-D", "-i", &interval, &target],
            &format!("ping-{}", unique(&target)),
        )?;
        Ok(Self { process })
    }

    /// Waits for an answer that comes after this call.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn wait_for_answer(&self) -> Result<()> {
        let before = self.report()?.received();
        eventually(QUICK, "an answer to a ping", || {
            ensure!(self.report()?.received() > before, "none has come");
            Ok(())
        })
    }

    /// What it has seen so far.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub fn report(&self) -> Result<PingReport> {
        Ok(parse(&self.process.log()?))
    }

    /// Ends it, as a user does with Ctrl-C, and reports.
    ///
    /// # Errors
    /// When it has ended before, or printed no summary.
    pub fn finish(self) -> Result<PingReport> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(QUICK)?;
        let report = self.report()?;
        ensure!(
            report.sent > 0,
            "no summary from ping: {}",
            self.process.log()?
        );
        Ok(report)
    }
}

/// Several pings of one address must not share a log.
fn unique(target: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static STARTED: AtomicU32 = AtomicU32::new(1);
    format!("{target}-{}", STARTED.fetch_add(1, Relaxed))
}

/// What a ping has seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PingReport {
    /// Requests sent, from the summary; 0 while it runs.
    pub sent: u64,
    /// When each answer came, in seconds of the day's clock, by sequence number.
    pub answers: BTreeMap<u64, f64>,
    /// Answers that came more than once.
    pub duplicates: u64,
    /// The longest round trip.
    pub max_rtt: Duration,
}

impl PingReport {
    /// Requests that were answered.
    pub fn received(&self) -> u64 {
        self.answers.len() as u64
    }

    /// Requests without an answer, from the first that had one: what was sent before waited for a cable that had just
    /// been plugged in. The very last one does not count when only it has none: ping ended while it was under way.
    pub fn lost(&self) -> u64 {
        let last_answered = self.answers.keys().next_back().copied().unwrap_or(0);
        let before_first = self
            .answers
            .keys()
            .next()
            .map_or(0, |first| first.saturating_sub(1));
        let missing = last_answered.saturating_sub(before_first + self.received());
        missing + self.sent.saturating_sub(last_answered + 1)
    }

    /// The longest time between two answers that followed each other.
    pub fn max_gap(&self) -> Duration {
        let times: Vec<f64> = self.answers.values().copied().collect();
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
        Duration::from_secs_f64(gaps.fold(0.0, f64::max))
    }
}

fn parse(output: &str) -> PingReport {
    let mut report = PingReport::default();
    for line in output.lines() {
        if line.contains("(DUP!)") {
            report.duplicates += 1;
        } else if let Ok(answer) = parse_answer(line) {
            report.answers.insert(answer.sequence, answer.time);
            report.max_rtt = report.max_rtt.max(answer.rtt);
        } else if let Some((sent, _)) = line.split_once(" packets transmitted") {
            report.sent = sent.parse().unwrap_or(0);
        }
    }
    report
}

struct Answer {
    sequence: u64,
    time: f64,
    rtt: Duration,
}

/// Reads `[1700000000.5] 64 bytes from 10.5.1.2: icmp_seq=7 ttl=62 time=0.058 ms`.
fn parse_answer(line: &str) -> Result<Answer> {
    let stamp = line.strip_prefix('[').and_then(|line| line.split_once(']'));
    let (time, rest) = stamp.context("no time stamp")?;
    ensure!(rest.contains(" bytes from "), "not an answer");
    let milliseconds: f64 = field(rest, "time=")?.parse()?;
    Ok(Answer {
        sequence: field(rest, "icmp_seq=")?.parse()?,
        time: time.parse()?,
        rtt: Duration::from_secs_f64(milliseconds / 1000.0),
    })
}

fn field<'a>(line: &'a str, name: &str) -> Result<&'a str> {
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name));
    value.with_context(|| format!("no {name} in {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
PING 10.5.1.2 (10.5.1.2) 56(84) bytes of data.
[100.00] 64 bytes from 10.5.1.2: icmp_seq=1 ttl=62 time=0.500 ms
[100.05] From 10.5.0.0 icmp_seq=2 Destination Host Unreachable
[100.75] 64 bytes from 10.5.1.2: icmp_seq=3 ttl=62 time=1.500 ms
[100.75] 64 bytes from 10.5.1.2: icmp_seq=3 ttl=62 time=1.600 ms (DUP!)
[100.80] 64 bytes from 10.5.1.2: icmp_seq=4 ttl=62 time=0.500 ms

--- 10.5.1.2 ping statistics ---
5 packets transmitted, 3 received, +1 duplicates, +1 errors, 40% packet loss, time 200ms
";

    #[test]
    fn counts_what_was_lost_but_not_what_was_under_way() {
        let report = parse(OUTPUT);
        assert_eq!((report.sent, report.received(), report.lost()), (5, 3, 1));
        assert_eq!(report.duplicates, 1);
        assert_eq!(report.max_gap().as_millis(), 750);
        assert_eq!(report.max_rtt.as_micros(), 1500);
    }

    #[test]
    fn what_was_sent_before_the_first_answer_is_no_loss() {
        let from_the_third = OUTPUT
            .lines()
            .filter(|line| !line.contains("icmp_seq=1"))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(parse(&from_the_third).lost(), 0);
    }

    #[test]
    fn all_is_lost_when_nothing_was_answered() {
        let report = parse("3 packets transmitted, 0 received, 100% packet loss, time 40ms");
        assert_eq!(report.lost(), 2, "the last one may be under way");
    }
}
