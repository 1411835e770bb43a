//! Resources of tokens, and the identities that they stand for.

use crate::SetupError;

/// Where the identity stands in a resource or a name.
const PLACE: &str = "{id}";

/// What the resource of a token must be like: levels with slashes between them, one of which may be `{id}`, which any level is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(Vec<String>);

impl Resource {
    /// Reads a pattern such as `hub.example/devices/{id}`.
    ///
    /// # Errors
    /// If it has an empty level, more than one `{id}`, or one that is only part of a level.
    pub fn new(pattern: &str) -> Result<Self, SetupError> {
        let levels = levels(pattern).ok_or_else(|| SetupError::Resource(pattern.into()))?;
        let places = levels.iter().filter(|level| *level == PLACE).count();
        let broken = levels.iter().any(|level| level != PLACE && level.contains(['{', '}']));
        match broken || places > 1 {
            true => Err(SetupError::Resource(pattern.into())),
            false => Ok(Self(levels)),
        }
    }

    /// Whether it leaves an identity open.
    pub fn has_place(&self) -> bool {
        self.0.iter().any(|level| level == PLACE)
    }

    /// What stands where the pattern has `{id}`; empty if it has none. `None`: the resource is another.
    pub fn matches(&self, resource: &str) -> Option<String> {
        let found = levels(resource)?;
        if found.len() != self.0.len() {
            return None;
        }
        let mut id = String::new();
        for (wanted, found) in self.0.iter().zip(found) {
            match wanted.as_str() {
                PLACE => id = found,
                wanted if wanted == found => {}
                _ => return None,
            }
        }
        Some(id)
    }
}

/// The levels of a resource without its scheme, of which the first one, a host, has no case. `None`: it has levels that mean something
/// to file systems and nothing here, or none at all.
fn levels(text: &str) -> Option<Vec<String>> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.strip_suffix('/').unwrap_or(text);
    let mut levels: Vec<String> = text.split('/').map(str::to_owned).collect();
    if let Some(host) = levels.first_mut().filter(|host| *host != PLACE) {
        host.make_ascii_lowercase();
    }
    let odd = |level: &String| matches!(level.as_str(), "" | "." | "..") || level.chars().any(char::is_control);
    (!levels.iter().any(odd)).then_some(levels)
}

/// The name that `template` makes of what a token or certificate says: `{id}` in it is that.
pub(crate) fn identity(template: &str, id: &str) -> String {
    template.replace(PLACE, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_exactly_one_level() {
        let devices = Resource::new("hub.example/devices/{id}").unwrap();
        assert_eq!(devices.matches("hub.example/devices/d1").as_deref(), Some("d1"));
        assert_eq!(devices.matches("sb://HUB.example/devices/d1/").as_deref(), Some("d1"));
        for other in [
            "hub.example/devices",
            "hub.example/devices/",
            "hub.example/devices/d1/modules/m",
            "hub.example/Devices/d1",
            "hub.example/devices/..",
            "hub.example//d1",
            "hub.example/devices/d\n1",
            "evil.example/devices/d1",
            "",
        ] {
            assert_eq!(devices.matches(other), None, "{other:?}");
        }
    }

    #[test]
    fn patterns_are_checked() {
        for wrong in ["", "a//b", "a/{id}/{id}", "a/d-{id}", "a/{name}", "../a"] {
            assert!(Resource::new(wrong).is_err(), "{wrong:?}");
        }
        assert!(!Resource::new("hub.example").unwrap().has_place());
    }
}
