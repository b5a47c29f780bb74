//! Which tool carries the rules: nftables or iptables, and which iptables, by what the operator asks for and what is on
//! the host. Pure.

use crate::rules::desired::{DesiredRules, RuleParts};
use crate::rules::iptables::saved::{filters_for_others, has_cluster_chains, has_docker_chains};
use crate::rules::observed::{LegacyTables, ObservedRules};
use crate::rules::settings::RequestedTool;
use crate::rules::tool::{IptablesVariant, RuleTool};

/// Which tool carries what, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Masquerading, and the outer packets that are not tracked.
    pub(crate) masquerade: RuleTool,
    /// The accept of forwarded packets.
    pub(crate) forward: Vec<IptablesVariant>,
    /// Where Docker has rules.
    pub(crate) docker: Vec<IptablesVariant>,
    /// Whether Docker uses its nftables backend.
    pub(crate) docker_nftables: bool,
    /// The reason in words.
    pub(crate) why: String,
    /// What looks wrong on this host.
    pub(crate) warning: Option<String>,
}

impl Choice {
    /// Returns the parts that one tool carries.
    pub(crate) fn parts(&self, tool: RuleTool) -> RuleParts {
        let is_among = |variants: &[IptablesVariant]| {
            variants
                .iter()
                .any(|variant| RuleTool::Iptables(*variant) == tool)
        };
        RuleParts {
            masquerade: self.masquerade == tool,
            forward: is_among(&self.forward),
            docker: is_among(&self.docker),
            docker_nftables: self.docker_nftables,
        }
    }

    /// Whether the rules are in the same tools, with the same warning. The reason may differ.
    pub(crate) fn is_same_placement(&self, other: &Self) -> bool {
        self.masquerade == other.masquerade
            && self.forward == other.forward
            && self.docker == other.docker
            && self.docker_nftables == other.docker_nftables
            && self.warning == other.warning
    }
}

/// No tool can carry what is asked for; the text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChoiceError {
    /// nftables is asked for, by the option or by the network configuration.
    #[error(
        "{by} asks for nftables, which cannot be used: {reason}; install it, or use --firewall=iptables"
    )]
    NftablesUnusable { by: &'static str, reason: String },
    /// iptables is asked for, by the option or by the network configuration.
    #[error(
        "{by} asks for iptables, which is not installed; install it, or use --firewall=nftables"
    )]
    NoIptables { by: &'static str },
    /// Neither is there.
    #[error("neither nftables ({0}) nor iptables can be used; install one, or use --ip-masq=false")]
    NoTool(String),
}

/// Chooses the tools. `nft_problem` is why nftables cannot be used, if it cannot. `None`: no rules are needed.
///
/// # Errors
/// What is asked for is not there.
pub(crate) fn choose(
    desired: &DesiredRules,
    observed: &ObservedRules,
    nft_problem: Option<&str>,
) -> Result<Option<Choice>, ChoiceError> {
    if desired.is_nothing() {
        return Ok(None);
    }
    match choose_masquerade(desired, observed, nft_problem) {
        Ok((masquerade, why)) => Ok(Some(Choice {
            masquerade,
            forward: forward(observed),
            docker: variants_where(observed, has_docker_chains),
            docker_nftables: observed.docker_nftables,
            why,
            warning: warning(observed),
        })),
        // The accept alone only overrules rules of other programs: without any tool there are none.
        Err(ChoiceError::NoTool(_)) if !desired.masquerade => Ok(None),
        Err(error) => Err(error),
    }
}

/// The option wins over the network configuration, and that over what is on the host.
fn choose_masquerade(
    desired: &DesiredRules,
    observed: &ObservedRules,
    nft_problem: Option<&str>,
) -> Result<(RuleTool, String), ChoiceError> {
    const OPTION: &str = "--firewall";
    const CONFIG: &str = "EnableNFTables in the network's config";
    match (desired.tool, desired.enable_nftables) {
        (RequestedTool::Nftables, _) => nftables(OPTION, nft_problem),
        (RequestedTool::Iptables, _) => iptables(OPTION, observed),
        (RequestedTool::Auto, Some(true)) => nftables(CONFIG, nft_problem),
        (RequestedTool::Auto, Some(false)) => iptables(CONFIG, observed),
        (RequestedTool::Auto, None) => by_host(observed, nft_problem),
    }
}

fn nftables(
    by: &'static str,
    nft_problem: Option<&str>,
) -> Result<(RuleTool, String), ChoiceError> {
    match nft_problem {
        None => Ok((RuleTool::Nftables, format!("{by} asks for nftables"))),
        Some(reason) => Err(ChoiceError::NftablesUnusable {
            by,
            reason: reason.to_owned(),
        }),
    }
}

fn iptables(by: &'static str, observed: &ObservedRules) -> Result<(RuleTool, String), ChoiceError> {
    let (variant, why) = variant(observed).ok_or(ChoiceError::NoIptables { by })?;
    Ok((
        RuleTool::Iptables(variant),
        format!("{by} asks for iptables, and {why}"),
    ))
}

/// nftables wherever it works: no program that flushes iptables touches a table of our own, it is replaced in one piece,
/// and the kernel announces its changes. For masquerading it does not matter whose rules are in iptables: of all NAT rules
/// at one hook the first that matches counts, and ours leave to kube-proxy what kube-proxy has marked.
fn by_host(
    observed: &ObservedRules,
    nft_problem: Option<&str>,
) -> Result<(RuleTool, String), ChoiceError> {
    let Some(reason) = nft_problem else {
        let why = format!("nft works here, and {}", cluster_text(observed));
        return Ok((RuleTool::Nftables, why));
    };
    let (variant, why) = variant(observed).ok_or_else(|| ChoiceError::NoTool(reason.to_owned()))?;
    Ok((
        RuleTool::Iptables(variant),
        format!("nftables cannot be used ({reason}), and {why}"),
    ))
}

/// Returns the iptables that other programs on this host use; else the one that its administrator would see.
fn variant(observed: &ObservedRules) -> Option<(IptablesVariant, String)> {
    let default = observed
        .default_variant
        .or_else(|| observed.saved.keys().next().copied())?;
    match with_cluster_chains(observed)[..] {
        [only] => Some((
            only,
            format!("chains of kube-proxy or Docker are in {only}"),
        )),
        _ => Some((default, format!("iptables here means {default}"))),
    }
}

fn cluster_text(observed: &ObservedRules) -> String {
    let variants: Vec<String> = with_cluster_chains(observed)
        .iter()
        .map(ToString::to_string)
        .collect();
    let text = if variants.is_empty() {
        "there are no chains of kube-proxy or Docker".to_owned()
    } else {
        let variants = variants.join(" and ");
        format!("chains of kube-proxy or Docker are in {variants}")
    };
    match observed.legacy {
        LegacyTables::Unused | LegacyTables::Used => text,
        LegacyTables::Hidden | LegacyTables::HiddenAndLoaded => {
            format!("as far as we may look (not at iptables-legacy), {text}")
        }
    }
}

fn with_cluster_chains(observed: &ObservedRules) -> Vec<IptablesVariant> {
    variants_where(observed, has_cluster_chains)
}

fn variants_where(observed: &ObservedRules, holds: fn(&str) -> bool) -> Vec<IptablesVariant> {
    let variants = observed.saved.iter().filter(|(_, saved)| holds(saved));
    variants.map(|(variant, _)| *variant).collect()
}

/// Returns every iptables in which other programs decide about forwarded packets. Where there is none yet, the default
/// one: a program that sets a policy that drops later, as Docker does, finds our accept before it.
fn forward(observed: &ObservedRules) -> Vec<IptablesVariant> {
    let filtering = variants_where(observed, filters_for_others);
    if filtering.is_empty() {
        observed.default_variant.into_iter().collect()
    } else {
        filtering
    }
}

fn warning(observed: &ObservedRules) -> Option<String> {
    const BOTH: &str = "chains of kube-proxy or Docker are in both iptables-legacy and iptables-nft: packets pass both, and \
                        what one accepts the other may drop; choose one (update-alternatives --config iptables) and reboot";
    const HIDDEN: &str = "iptables-legacy seems to be used on this host, and we lack the capabilities to look at it: what \
                          it drops stays dropped; /usr/share/doc/flanneld/iptables-legacy.conf gives them, and says how";
    let is_hidden_legacy_likely = match observed.legacy {
        LegacyTables::Unused | LegacyTables::Used => false,
        LegacyTables::Hidden => observed.default_variant == Some(IptablesVariant::Legacy),
        LegacyTables::HiddenAndLoaded => true,
    };
    let text = if with_cluster_chains(observed).len() > 1 {
        Some(BOTH)
    } else {
        is_hidden_legacy_likely.then_some(HIDDEN)
    };
    text.map(str::to_owned)
}

#[cfg(test)]
mod tests;
