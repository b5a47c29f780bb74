//! Whether the kernel's table of IPv4 neighbours is large enough. It is one table for the whole machine; beyond
//! `gc_thresh3` entries that may be removed, the kernel drops packets and tells the sender nothing. Pure.

use crate::conditions::{Problem, Reason};

/// The table as the kernel shows it to the first network namespace; other namespaces see nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NeighbourTable {
    /// `net.ipv4.neigh.default.gc_thresh3`.
    pub(crate) limit: Option<i32>,
    /// How often the table was full since the machine started (`table_fulls` in `/proc/net/stat/arp_cache`).
    pub(crate) overflows: Option<u64>,
}

/// Returns the number of overflows in the text of `/proc/net/stat/arp_cache`: a line of names, and one of hexadecimal
/// numbers for each CPU.
pub(crate) fn overflows(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let names = lines.next()?.split_whitespace();
    let column = names.into_iter().position(|name| name == "table_fulls")?;
    let counts =
        lines.map(|line| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok());
    counts.sum()
}

/// Returns the problem, if the table overflowed between two looks.
pub(crate) fn problem(before: NeighbourTable, now: NeighbourTable) -> Option<Problem> {
    let lost = now.overflows?.checked_sub(before.overflows?)?;
    let limit = now.limit?;
    if lost == 0 {
        return None;
    }
    let message = format!(
        "the kernel's table of neighbours was full {lost} times lately, and dropped packets: \
         net.ipv4.neigh.default.gc_thresh3 is {limit}; sysctl -w net.ipv4.neigh.default.gc_thresh3={}",
        i64::from(limit) * 8
    );
    Some(Problem::new(Reason::KernelSetting, message))
}

/// Returns a sentence if so many peers may need more neighbours than the table holds: those on our own link need one each.
pub(crate) fn warning(table: NeighbourTable, peers: usize) -> Option<String> {
    let limit = table.limit?;
    // The rest is for other neighbours of this machine.
    let room = usize::try_from(limit).ok()? / 8 * 7;
    (peers > room).then(|| {
        format!(
            "net.ipv4.neigh.default.gc_thresh3 is {limit}, and there are {peers} peers: from about {room} that are on the \
             same link and talk to this host at once, the kernel drops packets; \
             sysctl -w net.ipv4.neigh.default.gc_thresh3={}",
            peers.next_power_of_two() * 2
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "entries  allocs   table_fulls\n00000012 00000001 0000000a\n00000012 00000001 00000006\n";

    #[test]
    fn the_overflows_of_all_cpus_count() {
        assert_eq!(overflows(STAT), Some(16));
        assert_eq!(overflows("entries allocs\n1 2\n"), None, "an older kernel");
        assert_eq!(overflows("table_fulls\nmany\n"), None);
        assert_eq!(overflows(""), None);
    }

    fn table(overflows: Option<u64>) -> NeighbourTable {
        NeighbourTable {
            limit: Some(1024),
            overflows,
        }
    }

    #[test]
    fn only_new_overflows_are_a_problem() {
        assert_eq!(problem(table(Some(7)), table(Some(7))), None);
        assert_eq!(problem(table(None), table(Some(7))), None, "they are old");
        assert_eq!(problem(table(Some(7)), table(None)), None);
        let problem = problem(table(Some(7)), table(Some(9))).expect("it was full");
        assert!(problem.message.contains("was full 2 times"), "{problem}");
        assert!(problem.message.ends_with("gc_thresh3=8192"), "{problem}");
    }

    #[test]
    fn many_peers_are_worth_a_warning() {
        assert_eq!(warning(table(None), 896), None);
        let text = warning(table(None), 897).expect("too many");
        assert!(text.ends_with("gc_thresh3=2048"), "{text}");
        assert_eq!(warning(NeighbourTable::default(), 60_000), None);
    }
}
