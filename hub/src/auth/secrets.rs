use serde::{Deserialize, Serialize};

/// What is kept of a user's password: a hash, or a hash and SCRAM verifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Secrets {
    /// One text.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Secrets {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let all = match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        };
        all.iter().map(String::as_str)
    }
}

impl From<&str> for Secrets {
    fn from(text: &str) -> Self {
        Self::One(text.into())
    }
}

impl From<Vec<String>> for Secrets {
    fn from(texts: Vec<String>) -> Self {
        Self::Several(texts)
    }
}
