//! Owns the form of the log: one line for each event on stderr, with values as fields. Under systemd each line begins
//! with its priority, so that `journalctl -p warning` works, and has no time, which the journal adds itself.

use std::io::{self, IsTerminal as _, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging. `journald` says whether stderr is a stream of systemd's journal.
pub fn start(verbosity: u8, journald: bool) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(verbosity))
        .with_target(verbosity > 1);
    if journald {
        builder
            .without_time()
            .with_level(false)
            .with_ansi(false)
            .with_writer(Prioritized)
            .init();
    } else {
        builder
            .with_ansi(io::stderr().is_terminal())
            .with_writer(io::stderr)
            .init();
    }
}

/// Libraries are heard from only when things go wrong; their debugging is not ours.
fn filter(verbosity: u8) -> EnvFilter {
    let level = match verbosity {
        0 => "info",
        1..=9 => "debug",
        10.. => "trace",
    };
    EnvFilter::new(format!("error,flanneld={level}"))
}

/// Writes `<N>` before each line: sd-daemon(3), with the priorities of syslog.
struct Prioritized;

struct PriorityWriter(u8);

impl<'a> MakeWriter<'a> for Prioritized {
    type Writer = PriorityWriter;

    fn make_writer(&'a self) -> Self::Writer {
        PriorityWriter(6)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        PriorityWriter(priority(*meta.level()))
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl Write for PriorityWriter {
    /// The formatter hands over one whole line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut whole = format!("<{}>", self.0).into_bytes();
        whole.extend_from_slice(line);
        io::stderr().write_all(&whole)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_become_priorities_of_syslog() {
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        assert_eq!(levels.map(priority), [3, 4, 6, 7, 7]);
    }
}
