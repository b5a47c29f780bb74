//! Figures: how long a host takes to join a large overlay, to follow a burst of changes, to come back, to repair damage, to
//! answer a first packet, and what a flood costs it. Prints tables, and the same as JSON lines. Machines
//! differ: what is programmed in bulk stands beside a reference of the same run, the same entries by `ip -batch` and
//! `bridge -batch`, and the limit of bare netlink. Needs root. Judges nothing.
//!
//! `bench [join|bulk|repair|packets|rules]...`: these parts only.

mod bulk;
mod figures;
mod packets;
mod raw;
mod repair;
mod rules;

use anyhow::{Result, bail};
use figures::Figures;

/// A part of the figures: its name, its title, the row that others are compared with, and what fills it.
type Part = (
    &'static str,
    &'static str,
    &'static str,
    fn(&mut Figures) -> Result<()>,
);

const PARTS: [Part; 5] = [
    (
        "join",
        "A host among 4000 peers",
        bulk::REFERENCE,
        bulk::join,
    ),
    (
        "bulk",
        "60,000 peers",
        bulk::REFERENCE,
        bulk::sixty_thousand,
    ),
    (
        "repair",
        "Repair, from the end of the damage until all is right",
        "",
        repair::all,
    ),
    ("packets", "First packets and floods", "", packets::all),
    (
        "rules",
        "Rules of the packet filter, pod to pod on two hosts",
        rules::REFERENCE,
        rules::all,
    ),
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [raw, count] = &wanted[..]
        && raw == "raw"
    {
        return raw::program(count.parse()?);
    }
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !PARTS.iter().any(|part| part.0 == *name))
    {
        bail!("there is no part {unknown:?}: expected join, bulk, repair, packets or rules");
    }
    let mut done = Vec::new();
    for (name, title, reference, fill) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|part| part == name) {
            let mut figures = Figures::default();
            fill(&mut figures)?;
            figures.print(title, reference);
            done.push(figures);
        }
    }
    println!();
    done.iter().for_each(Figures::print_json);
    Ok(())
}
