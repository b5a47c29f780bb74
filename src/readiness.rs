//! Owns what "ready" means: lease, kernel state, rules and files are all in place. Pure.

/// Whether the kernel holds what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// There is no lease yet.
    Waiting,
    /// Read back and found right.
    InSync,
    /// Something is missing; the text says what.
    Stale(String),
}

/// How far the parts outside the kernel's tables have come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// Whether subnet.env and the options for Docker say what they should; a reason if not.
    pub files: Part,
    /// Whether the rules of the packet filter are in place; a reason if not.
    pub rules: Part,
}

/// One part of what makes us ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Part {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// In place.
    Done,
    /// It failed, and is tried again.
    Failed(String),
}

/// Why we are not ready, or `None` if we are.
pub fn missing(health: &Health, published: &Published) -> Option<String> {
    match health {
        Health::Waiting => return Some("waiting for a lease".to_owned()),
        Health::Stale(reason) => return Some(format!("the overlay is not complete: {reason}")),
        Health::InSync => {}
    }
    part("files", &published.files).or_else(|| part("rules of the packet filter", &published.rules))
}

fn part(name: &str, part: &Part) -> Option<String> {
    match part {
        Part::Done => None,
        Part::Waiting => Some(format!("waiting for the {name}")),
        Part::Failed(reason) => Some(format!("the {name} are not in place: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_thing_that_is_missing() {
        let done = Published { files: Part::Done, rules: Part::Done };
        let failed = Published { rules: Part::Failed("no nft".to_owned()), ..done.clone() };
        assert_eq!(missing(&Health::Waiting, &done).as_deref(), Some("waiting for a lease"));
        assert_eq!(
            missing(&Health::Stale("no route".to_owned()), &done).as_deref(),
            Some("the overlay is not complete: no route")
        );
        assert_eq!(missing(&Health::InSync, &Published::default()).as_deref(), Some("waiting for the files"));
        assert_eq!(
            missing(&Health::InSync, &failed).as_deref(),
            Some("the rules of the packet filter are not in place: no nft")
        );
        assert_eq!(missing(&Health::InSync, &done), None);
    }
}
