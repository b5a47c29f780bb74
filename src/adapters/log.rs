//! Writes the log to stderr, one line for each event. Under systemd each line begins with its
//! priority, so that `journalctl -p warning` works, and has no time, because the journal adds it.
//! Does not decide what is logged.

use std::io::{self, IsTerminal as _, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts the log. `journal` says whether stderr goes to systemd's journal. Must be called once
/// only.
pub(crate) fn start(verbosity: u8, journal: bool) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(verbosity))
        .with_target(verbosity > 1);
    if journal {
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

/// Selects our own events by the verbosity. Libraries log errors only.
fn filter(verbosity: u8) -> EnvFilter {
    let level = match verbosity {
        0 => "info",
        1..=9 => "debug",
        10.. => "trace",
    };
    EnvFilter::new(format!("error,flanneld={level}"))
}

/// Writes the priority of syslog before each line, such as `<4>`, as sd-daemon(3) describes it.
struct Prioritized;

struct PriorityWriter(u8);

/// `LOG_INFO` of syslog.
const INFO_PRIORITY: u8 = 6;

impl<'a> MakeWriter<'a> for Prioritized {
    type Writer = PriorityWriter;

    fn make_writer(&'a self) -> Self::Writer {
        PriorityWriter(INFO_PRIORITY)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        PriorityWriter(priority(*meta.level()))
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => INFO_PRIORITY,
        _ => 7,
    }
}

impl Write for PriorityWriter {
    /// Writes one line: the formatter passes whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut prefixed = format!("<{}>", self.0).into_bytes();
        prefixed.extend_from_slice(line);
        io::stderr().write_all(&prefixed)?;
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
    fn levels_map_to_priorities_of_syslog() {
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
