/// Whom a rule is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The one with this name.
    Exactly(String),
    /// Those whose names begin and end like this.
    Like(String, String),
}

impl Name {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        match text.split_once('*') {
            None => Ok(Self::Exactly(text.into())),
            Some((start, end)) if !end.contains('*') => Ok(Self::Like(start.into(), end.into())),
            Some(_) => Err(format!("`{text}`: one * is enough")),
        }
    }

    /// Nobody in particular is only meant by its own, empty name.
    pub(super) fn is(&self, principal: &str) -> bool {
        match self {
            Self::Exactly(name) => name == principal,
            Self::Like(start, end) => {
                !principal.is_empty()
                    && principal.len() >= start.len() + end.len()
                    && principal.starts_with(start.as_str())
                    && principal.ends_with(end.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_the_ends_do_not_overlap() {
        let is = |pattern: &str, name: &str| Name::new(pattern).unwrap().is(name);
        assert!(is("a*", "a") && is("a*", "ab") && !is("a*", "ba") && is("*", "x") && is("a*a", "aa"));
        assert!(!is("a*a", "a") && !is("*", "") && is("", "") && !is("ab", "abc"));
    }
}
