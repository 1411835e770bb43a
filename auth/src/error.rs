/// Why a setting about identities or rights cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A resource is no pattern.
    #[error("`{0}` is no resource: levels with slashes between them, one of which may be {{id}}")]
    Resource(String),
    /// A rule for tokens has no key, too many, or a short one.
    #[error("the tokens for `{0}` need one key or two, of at least 16 characters")]
    Keys(String),
    /// A rule for tokens lets everybody in as one, or nobody.
    #[error("the identity for `{0}` has {{id}} if the resource has, and only then")]
    Identity(String),
    /// An algorithm is none that is taken.
    #[error(
        "`{0}` is no algorithm for signatures: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
    )]
    Algorithm(String),
    /// A key is not one for its algorithm.
    #[error("the key is none for {algorithm}: {why}")]
    Key {
        /// The algorithm.
        algorithm: String,
        /// What is wrong with it.
        why: String,
    },
    /// A rule of a policy cannot be meant.
    #[error("rule {rule} of the policy: {why}")]
    Policy {
        /// Which one, from 1.
        rule: usize,
        /// What is wrong with it.
        why: String,
    },
}
