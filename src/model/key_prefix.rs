//! The prefix of an overlay's keys in etcd. Several spellings mean one overlay. Pure.

/// Returns the one spelling of a prefix: a slash in front of each part, none at the end.
pub(crate) fn normalize(prefix: &str) -> String {
    let parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_make_no_other_prefix() {
        for prefix in ["/a/b", "a/b", "/a/b/", "//a//b", "a//b///"] {
            assert_eq!(normalize(prefix), "/a/b", "{prefix}");
        }
        assert_eq!(normalize("/"), "/");
    }
}
