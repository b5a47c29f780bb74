//! Owns the text for `nft -f -`: one table of our own, replaced as a whole. Pure.

use std::fmt::Write as _;

use super::{KUBE_MARK, Range, Rule, Verdict, Wanted};
use crate::addr::Vni;

/// Name of the table: that of the device, which tells the instances on a host apart.
pub fn table(vni: Vni) -> String {
    vni.device()
}

/// A script that leaves the table as it should be, in one transaction: made first so that deleting it never fails,
/// then deleted with all that an earlier run put there, then made anew if there is anything to put in it.
pub fn script(wanted: &Wanted) -> String {
    let table = table(wanted.vni);
    let mut text = format!("table ip {table}\ndelete table ip {table}\n");
    let rules = wanted.masquerade_rules();
    if rules.is_empty() {
        return text;
    }
    _ = writeln!(text, "table ip {table} {{\n\tchain postrouting {{");
    _ = writeln!(text, "\t\ttype nat hook postrouting priority srcnat; policy accept;");
    rules.iter().for_each(|rule| _ = writeln!(text, "\t\t{}", line(rule, wanted.random_fully)));
    text.push_str("\t}\n}\n");
    text
}

fn line(rule: &Rule, random_fully: bool) -> String {
    let mut words = Vec::new();
    if rule.marked {
        words.push(format!("meta mark & {KUBE_MARK:#x} == {KUBE_MARK:#x}"));
    }
    words.extend(rule.source.map(|range| format!("ip saddr {}", operand(range))));
    words.extend(rule.destination.map(|range| format!("ip daddr {}", operand(range))));
    words.push(match rule.verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Accept => "accept".to_owned(),
        Verdict::Masquerade if random_fully => "masquerade fully-random".to_owned(),
        Verdict::Masquerade => "masquerade".to_owned(),
    });
    words.join(" ")
}

fn operand(range: Range) -> String {
    match range {
        Range::In(net) => net.to_string(),
        Range::NotIn(net) => format!("!= {net}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::wanted;
    use super::*;

    #[test]
    fn replaces_its_table_in_one_script() {
        let expected = "table ip flannel.1\n\
            delete table ip flannel.1\n\
            table ip flannel.1 {\n\
            \tchain postrouting {\n\
            \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
            \t\tmeta mark & 0x4000 == 0x4000 return\n\
            \t\tip saddr 10.5.96.0/24 ip daddr 10.5.0.0/16 return\n\
            \t\tip saddr 10.5.0.0/16 ip daddr 10.5.96.0/24 return\n\
            \t\tip saddr != 10.5.0.0/16 ip daddr 10.5.96.0/24 return\n\
            \t\tip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random\n\
            \t\tip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random\n\
            \t}\n\
            }\n";
        assert_eq!(script(&wanted()), expected);
    }

    #[test]
    fn removes_its_table_when_nothing_is_wanted() {
        let none = Wanted { masquerade: false, ..wanted() };
        assert_eq!(script(&none), "table ip flannel.1\ndelete table ip flannel.1\n");
    }

    #[test]
    fn instances_have_tables_of_their_own() {
        let other = Wanted { vni: Vni::try_from(7).expect("7 fits 24 bits"), random_fully: false, ..wanted() };
        let script = script(&other);
        assert!(script.starts_with("table ip flannel.7\n") && !script.contains("fully-random"), "{script}");
    }
}
