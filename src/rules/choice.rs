//! Owns which tool carries the rules: nftables or iptables, and which iptables, from what is on the host. Pure.
//!
//! iptables exists twice: in the kernel's old tables ("legacy") and on top of nftables ("nft"). Packets pass both, and a
//! host may hold rules in both, of which one `iptables` shows only its own.

use std::fmt;

use crate::adapters::packet_filter::iptables;
use crate::rules::desired::Carries;

/// What the operator wants (`--firewall`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// What fits the host.
    Auto,
    /// A table of nftables for masquerading.
    Nftables,
    /// iptables for everything.
    Iptables,
}

/// One of the two kinds of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// On top of nftables.
    Nft,
    /// The old tables.
    Legacy,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        })
    }
}

/// Who masquerades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A table of our own.
    Nftables,
    /// Chains in iptables.
    Iptables(Variant),
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nftables => f.write_str("nftables"),
            Self::Iptables(variant) => variant.fmt(f),
        }
    }
}

/// What is known of the tables of iptables-legacy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Legacy {
    /// There are none.
    #[default]
    Unused,
    /// There are some, and we may read them.
    Used,
    /// We may not even ask whether there are any.
    Hidden,
    /// We may not ask, and the kernel has loaded what only they need.
    HiddenAndLoaded,
}

/// What is on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Why nftables cannot be used, if it cannot.
    pub no_nft: Option<String>,
    /// Which iptables the plain name means; none if there is no iptables.
    pub usual: Option<Variant>,
    /// The rules of each iptables that can be asked, in the form of `iptables-save`.
    pub saved: Vec<(Variant, String)>,
    /// Whether what is in iptables-legacy can be among them.
    pub legacy: Legacy,
}

/// Who carries what, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Masquerading, and keeping outer packets untracked.
    pub masquerade: Backend,
    /// Accepting forwarded packets.
    pub forward: Vec<Variant>,
    /// The reason in words.
    pub why: String,
    /// What looks wrong on this host.
    pub warning: Option<String>,
}

impl Choice {
    /// What one kind of iptables has to carry.
    pub fn carries(&self, variant: Variant) -> Carries {
        Carries {
            masquerade: self.masquerade == Backend::Iptables(variant),
            forward: self.forward.contains(&variant),
        }
    }
}

/// Nothing can carry what is asked for; the text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// nftables was asked for, by name or by `EnableNFTables`.
    #[error(
        "{who} asks for nftables, which cannot be used: {reason}; install it, or use --firewall=iptables"
    )]
    NoNft {
        /// Who asks.
        who: &'static str,
        /// Why it cannot be used.
        reason: String,
    },
    /// iptables was asked for, by name or by `EnableNFTables`.
    #[error(
        "{who} asks for iptables, which is not installed; install it, or use --firewall=nftables"
    )]
    NoIptables {
        /// Who asks.
        who: &'static str,
    },
    /// Neither is there.
    #[error("neither nftables ({0}) nor iptables can be used; install one, or use --ip-masq=false")]
    Nothing(String),
}

/// Chooses. `enable_nftables` is what the network's configuration says.
///
/// # Errors
/// What is asked for is not there.
pub fn choose(asked: Asked, enable_nftables: Option<bool>, seen: &Seen) -> Result<Choice, Error> {
    const FLAG: &str = "--firewall";
    const CONFIG: &str = "EnableNFTables in the network's config";
    let (masquerade, why) = match (asked, enable_nftables) {
        (Asked::Nftables, _) => nftables(FLAG, seen)?,
        (Asked::Iptables, _) => by_iptables(FLAG, seen)?,
        (Asked::Auto, Some(true)) => nftables(CONFIG, seen)?,
        (Asked::Auto, Some(false)) => by_iptables(CONFIG, seen)?,
        (Asked::Auto, None) => by_looking(seen)?,
    };
    let warning = warning(seen);
    Ok(Choice {
        masquerade,
        forward: forward(seen),
        why,
        warning,
    })
}

fn warning(seen: &Seen) -> Option<String> {
    const BOTH: &str = "chains of kube-proxy or Docker are in both iptables-legacy and iptables-nft: packets pass both, and \
                        what one accepts the other may drop; choose one (update-alternatives --config iptables) and reboot";
    const HIDDEN: &str = "iptables-legacy seems to be used on this host, and we lack the capabilities to look at it: what \
                          it drops stays dropped; /usr/share/doc/flanneld/iptables-legacy.conf gives them, and says how";
    let legacy_is_likely = match seen.legacy {
        Legacy::Unused | Legacy::Used => false,
        Legacy::Hidden => seen.usual == Some(Variant::Legacy),
        Legacy::HiddenAndLoaded => true,
    };
    let text = if busy(seen).len() > 1 {
        Some(BOTH)
    } else {
        legacy_is_likely.then_some(HIDDEN)
    };
    text.map(str::to_owned)
}

fn nftables(who: &'static str, seen: &Seen) -> Result<(Backend, String), Error> {
    match &seen.no_nft {
        None => Ok((Backend::Nftables, format!("{who} asks for nftables"))),
        Some(reason) => Err(Error::NoNft {
            who,
            reason: reason.clone(),
        }),
    }
}

fn by_iptables(who: &'static str, seen: &Seen) -> Result<(Backend, String), Error> {
    let (variant, why) = variant(seen).ok_or(Error::NoIptables { who })?;
    Ok((
        Backend::Iptables(variant),
        format!("{who} asks for iptables, and {why}"),
    ))
}

/// nftables wherever it works: a table of our own is out of the way of all who flush iptables, is replaced in one piece,
/// and tells when it changes. Ownership rules are in iptables does not matter for masquerading: of all NAT rules at one place
/// the first that applies counts, and ours leaves to kube-proxy what kube-proxy has marked.
fn by_looking(seen: &Seen) -> Result<(Backend, String), Error> {
    let Some(reason) = &seen.no_nft else {
        return Ok((
            Backend::Nftables,
            format!("nft works here, and {}", found(seen)),
        ));
    };
    let (variant, why) = variant(seen).ok_or_else(|| Error::Nothing(reason.clone()))?;
    Ok((
        Backend::Iptables(variant),
        format!("nftables cannot be used ({reason}), and {why}"),
    ))
}

/// The iptables that the others on this host use; else the one that its administrator would see.
fn variant(seen: &Seen) -> Option<(Variant, String)> {
    let usual = seen
        .usual
        .or_else(|| seen.saved.first().map(|(variant, _)| *variant))?;
    match busy(seen)[..] {
        [only] => Some((
            only,
            format!("chains of kube-proxy or Docker are in {only}"),
        )),
        _ => Some((usual, format!("iptables here means {usual}"))),
    }
}

fn found(seen: &Seen) -> String {
    let busy: Vec<String> = busy(seen).iter().map(ToString::to_string).collect();
    let found = match busy.is_empty() {
        true => "there are no chains of kube-proxy or Docker".to_owned(),
        false => format!(
            "chains of kube-proxy or Docker are in {}",
            busy.join(" and ")
        ),
    };
    match seen.legacy {
        Legacy::Unused | Legacy::Used => found,
        Legacy::Hidden | Legacy::HiddenAndLoaded => {
            format!("as far as we may look (not at iptables-legacy), {found}")
        }
    }
}

fn busy(seen: &Seen) -> Vec<Variant> {
    let busy = seen
        .saved
        .iter()
        .filter(|(_, saved)| iptables::has_cluster_chains(saved));
    busy.map(|(variant, _)| *variant).collect()
}

/// Every iptables in which others decide about packets that are forwarded. Where there is none yet, the usual one: whoever
/// comes and sets a policy that drops, as Docker does, finds our accept before it.
fn forward(seen: &Seen) -> Vec<Variant> {
    let filtering = seen
        .saved
        .iter()
        .filter(|(_, saved)| iptables::filters_for_others(saved));
    let filtering: Vec<Variant> = filtering.map(|(variant, _)| *variant).collect();
    if filtering.is_empty() {
        seen.usual.into_iter().collect()
    } else {
        filtering
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "*filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\nCOMMIT\n";
    const KUBE: &str = "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n";

    fn seen(nft: &str, legacy: &str) -> Seen {
        let saved = vec![
            (Variant::Nft, nft.to_owned()),
            (Variant::Legacy, legacy.to_owned()),
        ];
        Seen {
            no_nft: None,
            usual: Some(Variant::Nft),
            saved,
            legacy: Legacy::Used,
        }
    }

    fn without_nft(seen: Seen) -> Seen {
        Seen {
            no_nft: Some("nft is not installed".to_owned()),
            ..seen
        }
    }

    fn check(asked: Asked, config: Option<bool>, seen: &Seen, expected: &str) {
        let text = match choose(asked, config, seen) {
            Ok(Choice {
                masquerade,
                forward,
                why,
                warning,
            }) => {
                let forward: Vec<String> = forward.iter().map(ToString::to_string).collect();
                let warning = if warning.is_some() { "; warns" } else { "" };
                format!("{masquerade}, {}: {why}{warning}", forward.join("+"))
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn a_filter_that_holds_our_own_rules_only_does_not_keep_them_there() {
        const OURS: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [9:9]\n:FLANNEL-FWD - [0:0]\n\
                            -A FORWARD -j FLANNEL-FWD\n-A FLANNEL-FWD -s 10.5.0.0/16 -j ACCEPT\nCOMMIT\n";
        let changed = Seen {
            usual: Some(Variant::Legacy),
            ..seen(OURS, "")
        };
        assert_eq!(forward(&changed), [Variant::Legacy]);
        let drops = OURS.replace(":FORWARD ACCEPT", ":FORWARD DROP");
        assert_eq!(
            forward(&Seen {
                usual: Some(Variant::Legacy),
                ..seen(&drops, "")
            }),
            [Variant::Nft]
        );
    }

    #[test]
    fn looks_at_what_is_there() {
        let auto = |seen: &Seen, expected: &str| check(Asked::Auto, None, seen, expected);
        auto(
            &seen("", ""),
            "nftables, iptables-nft: nft works here, and there are no chains of kube-proxy or Docker",
        );
        auto(
            &seen("", DOCKER),
            "nftables, iptables-legacy: nft works here, and chains of kube-proxy or Docker are in iptables-legacy",
        );
        auto(
            &seen(DOCKER, DOCKER),
            "nftables, iptables-nft+iptables-legacy: nft works here, and chains of kube-proxy or Docker are in \
             iptables-nft and iptables-legacy; warns",
        );
        auto(
            &without_nft(seen("", KUBE)),
            "iptables-legacy, iptables-nft: nftables cannot be used (nft is not installed), and chains of kube-proxy \
             or Docker are in iptables-legacy",
        );
        auto(
            &without_nft(seen(DOCKER, KUBE)),
            "iptables-nft, iptables-nft: nftables cannot be used (nft is not installed), and iptables here means \
             iptables-nft; warns",
        );
        let bare = Seen {
            usual: None,
            saved: Vec::new(),
            ..seen("", "")
        };
        auto(
            &bare,
            "nftables, : nft works here, and there are no chains of kube-proxy or Docker",
        );
        auto(
            &without_nft(bare),
            "neither nftables (nft is not installed) nor iptables can be used; install one, or use --ip-masq=false",
        );
    }

    #[test]
    fn claims_nothing_of_tables_that_it_may_not_read_and_warns_only_where_they_seem_to_be_used() {
        let hidden = |usual, legacy| Seen {
            usual: Some(usual),
            legacy,
            ..seen("", "")
        };
        let why = "nft works here, and as far as we may look (not at iptables-legacy), there are no chains of \
                   kube-proxy or Docker";
        let auto = |seen: &Seen, expected: String| check(Asked::Auto, None, seen, &expected);
        auto(
            &hidden(Variant::Nft, Legacy::Hidden),
            format!("nftables, iptables-nft: {why}"),
        );
        auto(
            &hidden(Variant::Legacy, Legacy::Hidden),
            format!("nftables, iptables-legacy: {why}; warns"),
        );
        auto(
            &hidden(Variant::Nft, Legacy::HiddenAndLoaded),
            format!("nftables, iptables-nft: {why}; warns"),
        );
    }

    #[test]
    fn the_operator_wins_over_the_config_and_the_config_over_what_is_there() {
        let there = seen("", KUBE);
        let legacy = "chains of kube-proxy or Docker are in iptables-legacy";
        check(
            Asked::Iptables,
            Some(true),
            &there,
            &format!("iptables-legacy, iptables-nft: --firewall asks for iptables, and {legacy}"),
        );
        check(
            Asked::Nftables,
            Some(false),
            &there,
            "nftables, iptables-nft: --firewall asks for nftables",
        );
        let config = "EnableNFTables in the network's config asks for";
        check(
            Asked::Auto,
            Some(false),
            &there,
            &format!("iptables-legacy, iptables-nft: {config} iptables, and {legacy}"),
        );
        check(
            Asked::Nftables,
            None,
            &without_nft(there),
            "--firewall asks for nftables, which cannot be used: nft is not installed; install it, or use \
             --firewall=iptables",
        );
    }
}
